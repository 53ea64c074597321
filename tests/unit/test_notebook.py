"""What a value shows of itself in a notebook and on a terminal: one line, and escaped HTML."""

import copy
import math
import pickle

import pytest
import torch

import interp
from interp.compare.difference import PopulationScores, compare_pairs
from interp.lenses.logit_lens import LogitLens
from interp.statistics.estimate import Estimate
from interp.store.search import Hit, Hits
from interp.subject.generation import Generated

HOSTILE = "<script>alert(1)</script> & more"


@pytest.fixture(scope="module")
def mined(subject: interp.Subject) -> interp.Mined:
    corpus = interp.WorldCorpus(seed=3, n_documents=60)
    config = interp.MiningConfig(sampled_tokens=64, sampled_rows=32)
    return interp.mine(subject, [interp.MlpNeurons(subject, 0)], corpus, config)


def test_what_is_mined_is_found_by_its_name_once(mined: interp.Mined) -> None:
    assert list(mined) == ["mlp.0"] and len(mined) == 1
    assert repr(mined).startswith("Mined(mlp.0 on ") and repr(mined["mlp.0"]).startswith("MinedSpace(mlp.0: ")
    with pytest.raises(interp.UserError, match=r"mlp.7 was not mined"):
        mined["mlp.7"]


def test_a_feature_shows_its_strongest_windows(subject: interp.Subject, mined: interp.Mined) -> None:
    feature = mined.feature("mlp.0/5-")
    assert repr(feature).startswith("MinedFeature(mlp.0/5-: ")
    html = feature._repr_html_()
    top = [window for window in feature.windows if window.band == "top"]
    assert html.count('<div class="tokens') == len(top) > 0
    assert html.count(" peak") >= len(top)
    first = mined.corpus[top[0].document].tokens[top[0].start :]
    assert float(top[0].values[: len(first)].max()) == pytest.approx(top[0].value, rel=1e-2)


def test_an_attribution_is_one_line_and_shows_its_prompt(subject: interp.Subject) -> None:
    space = interp.MlpNeurons(subject, 0)
    found = interp.attribute(subject, "the capital of france is", "paris", [space])
    assert repr(found) == "Attribution(1 prompt, logit of ' paris', by mlp.0)"
    assert "france" in found._repr_html_() and "<table" in found._repr_html_()
    assert repr(space) == "MlpNeurons(mlp.0: 320 features at mlp_post.0)"


def test_k_is_the_number_of_strongest_windows_to_describe_from(subject: interp.Subject) -> None:
    corpus, spaces = interp.WorldCorpus(seed=3, n_documents=60), [interp.MlpNeurons(subject, 0)]
    few = interp.mine(subject, spaces, corpus, interp.MiningConfig(sampled_tokens=64, sampled_rows=32), k=3)
    kept = {split: found.top_value.shape[1] for split, found in few["mlp.0"].exemplars.items()}
    assert kept == {"explain": 3, "select": 10, "report": 10}
    with pytest.raises(interp.UserError, match="k should be greater than or equal to 1"):
        interp.mine(subject, spaces, corpus, k=0)


def test_every_value_is_one_short_line(subject: interp.Subject, mined: interp.Mined) -> None:
    space, corpus = mined.spaces["mlp.0"], mined.corpus
    scores = PopulationScores({"neurons": Estimate(0.5, 0.4, 0.6)}, {})
    values = [
        subject.run(["the capital of france is"], [space]),
        subject.score("the capital of france is", ["paris"]),
        mined["mlp.0"].exemplars["explain"],
        mined["mlp.0"].samples["explain"],
        mined["mlp.0"].statistics(),
        mined.feature("mlp.0/5").windows[0],
        corpus,
        corpus[0],
        interp.Clamp(space, [1, 2], 0.0),
        interp.AddVector(subject, interp.Site("resid_post", 1), torch.ones(subject.d_model)),
        LogitLens(subject),
        scores,
        compare_pairs([], []),
    ]
    for value in values:
        said = repr(value)
        assert said.startswith(f"{type(value).__name__}(") and said.endswith(")"), said
        assert "\n" not in said and " object at " not in said and len(said) < 130, said
    assert repr(scores) == "PopulationScores(neurons 0.5 (0.4 to 0.6))"


def test_a_comparison_is_a_table_of_means_and_differences() -> None:
    means = {HOSTILE: Estimate(0.5, 0.4, 0.6), "latents": Estimate(0.7, 0.6, 0.8)}
    html = PopulationScores(means, {(HOSTILE, "latents"): Estimate(0.2, 0.1, 0.3)})._repr_html_()
    assert "<script>" not in html and "latents minus" in html and html.count("<tr") == 4


def test_what_was_found_is_escaped() -> None:
    hits = Hits([Hit(1, 0.5, "world", "mlp.0", 3, 1, HOSTILE, HOSTILE, 0.25)])
    assert repr(hits) == "Hits(mlp.0/3+ 0.50)"
    assert "<script>" not in hits._repr_html_() and "alert(1)" in hits._repr_html_()


def test_generated_text_is_a_string_that_shows_its_probabilities(subject: interp.Subject) -> None:
    found = subject.generate("the capital of france is", max_new_tokens=2)
    assert found == "paris ." and repr(found) == "'paris .'" and isinstance(found, str)
    html = found._repr_html_()
    assert html.count('class="none"') == 5 and '<span class="pill" title="special token' in html
    assert f">{math.exp(found.log_probs[0]):.3f}"[1:] in html and "probability of each token" in html
    for same in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert same == found and same.log_probs == found.log_probs and same._repr_html_() == html
    several = subject.generate(["the", "the capital of france is"], max_new_tokens=3)
    assert all(one._repr_html_().count("pill") - html.count("pill") == 0 for one in several)
    nothing = Generated("")
    assert nothing.log_probs == () and "probability of each token" in nothing._repr_html_()


def test_a_hostile_token_is_escaped() -> None:
    found = Generated(HOSTILE)
    found.prompt, found.tokens, found.log_probs, found._strings = (1,), (2,), (-0.5,), [HOSTILE, HOSTILE]
    assert "<script>" not in found._repr_html_() and found._repr_html_().count("alert(1)") == 2
