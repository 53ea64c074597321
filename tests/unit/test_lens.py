"""Lenses: closed forms of what they read, the tuned lens on held-out text, prompts and their positions."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

import interp
from interp.errors import UserError
from interp.lenses.distribution import LogProbabilities, likeliest
from interp.lenses.evaluation import divergence, read_words, words_by_layer
from interp.lenses.lens_file import load_lens, save_lens
from interp.lenses.logit_lens import LogitLens
from interp.lenses.prompt import Prompt, check_ordinary, prompt_at, span_positions
from interp.lenses.residual_stream import EMBEDDING, layer_of, read_stream, stream_sites
from interp.lenses.tuned_lens import TunedLens, train_tuned_lens
from interp.lenses.view import lens, lens_page
from interp.statistics.splits import split_halves
from interp.subject import Site, Subject
from interp.subject.text import Conversation
from interp.track.files import read_safetensors, write_safetensors
from tests.parity.subject_folders import save_model

TEXT = "the capital of france , as we know , is"


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A model whose tokens are bytes."""
    return interp.load(save_model("llama", tmp_path_factory.mktemp("llama")), device="cpu")


def test_entropy_and_divergence_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (30 * torch.randn(4, 5, 50, generator=generator, dtype=torch.double) for _ in range(2))
    p, q = (torch.distributions.Categorical(logits=logits) for logits in (one, other))
    ours, theirs = LogProbabilities.of(one), LogProbabilities.of(other)
    assert torch.allclose(ours.entropy, p.entropy())
    assert torch.allclose(ours.probability, p.probs)
    assert torch.allclose(ours.kl(theirs), torch.distributions.kl_divergence(p, q))


@pytest.mark.parametrize("d_vocab", [3, 64, 200, 640, 1041])
@pytest.mark.parametrize("k", [1, 5])
def test_the_likeliest_are_those_of_topk(d_vocab: int, k: int) -> None:
    logits = torch.randn(2, 7, d_vocab, generator=torch.Generator().manual_seed(0))
    logits[0, 0, -1] = 9.0  # after the last whole block
    logits[1, 0, : min(d_vocab, 70)] += 5.0  # most of them in one block
    values, tokens = likeliest(logits, k)
    wanted = logits.topk(min(k, d_vocab), dim=-1)
    assert torch.equal(values, wanted.values) and torch.equal(tokens, wanted.indices)


def test_a_view_has_ranks_and_probabilities_of_every_site(subject: Subject) -> None:
    sites = [Site("resid_pre", 0), Site("attn_out", 3), Site("mlp_out", 5), Site("resid_post", 6)]
    view = lens(subject, TEXT, ["paris", 12], sites=sites, k=3)
    tokens = subject.to_tokens(TEXT)
    read, paris = subject.read(tokens, sites), subject.single_token("paris")
    output = subject.logits(tokens)[0].double().log_softmax(-1)
    for row, site in enumerate(sites):
        own = subject.unembed(subject.final_norm(read[site]))[0].double().log_softmax(-1)
        order = own.argsort(-1, descending=True)
        assert torch.equal(view.rank[row, :, 0], (order == paris).int().argmax(-1).int())
        assert torch.allclose(view.probability[row, :, 1].double(), own[:, 12].exp(), atol=1e-6)
        kl = (output.exp() * (output - own)).sum(-1)
        assert torch.allclose(view.kl[row].double(), kl, atol=1e-3)
    frame = view.frame()
    assert len(frame) == len(sites) * tokens.shape[1]
    last = frame[(frame["site"] == "resid_post.6") & (frame["position"] == tokens.shape[1] - 1)]
    assert last["top"].item() == "paris" and last["rank of paris"].item() == 0


def test_many_sites_at_once_read_as_each_alone(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    together = lens(subject, TEXT)
    monkeypatch.setattr("interp.lenses.view.LOGITS_TOGETHER", 1)
    monkeypatch.setattr("interp.subject.unembedding.LOGITS_AT_ONCE", 3 * subject.d_vocab)
    alone = lens(subject, TEXT)
    assert torch.allclose(together.kl, alone.kl, atol=1e-4) and torch.equal(together.top, alone.top)


def test_the_stream_runs_from_the_embedding_to_the_last_layer(subject: Subject) -> None:
    sites = stream_sites(subject)
    assert list(sites) == list(range(EMBEDDING, subject.n_layers))
    assert [layer_of(site) for site in sites.values()] == list(sites)
    read = read_stream(subject, [prompt_at(subject, TEXT, "france"), prompt_at(subject, "near spain")])
    whole = subject.read(subject.to_tokens(TEXT), list(sites.values()))
    position = 1 + TEXT.split().index("france")
    for layer, site in sites.items():
        assert torch.allclose(read[layer][0], whole[site][0, position], atol=1e-5)


def test_a_tuned_lens_begins_as_the_logit_lens_and_comes_nearer_to_the_output(
    subject: Subject, tmp_path: Path
) -> None:
    corpus = interp.WorldCorpus(seed=1, n_documents=600)
    start, plain = TunedLens(subject), LogitLens(subject)
    activation = torch.randn(3, subject.d_model)
    for site in stream_sites(subject).values():
        assert torch.equal(start.logits(activation, site), plain.logits(activation, site))
    tuned = train_tuned_lens(subject, corpus, steps=60, tokens_per_step=512)
    found = divergence([plain, tuned], corpus, 60).groupby(["lens", "layer"])["kl"].mean()
    for layer in range(EMBEDDING, subject.n_layers - 1):
        assert found["tuned lens", layer] < found["logit lens", layer]
    last = subject.n_layers - 1
    assert abs(found["tuned lens", last]) < 1e-4 and abs(found["logit lens", last]) < 1e-4
    file = save_lens(tmp_path / "lens.safetensors", tuned)
    again = load_lens(file, subject)
    site = Site("resid_post", 2)
    assert torch.equal(again.logits(activation, site), tuned.logits(activation, site))
    with pytest.raises(UserError, match="not trained at attn_out"):
        tuned.logits(activation, Site("attn_out", 1))


def test_a_fitted_tuned_lens_is_near_the_output_before_it_is_trained(subject: Subject) -> None:
    corpus = interp.WorldCorpus(seed=1, n_documents=600)
    fitted = train_tuned_lens(
        subject, corpus, steps=1, tokens_per_step=64, learning_rate=1e-9, fitted_tokens=3000
    )
    lenses = [LogitLens(subject), fitted]
    found = divergence(lenses, corpus, 20, tokens_per_row=5).groupby(["lens", "layer"])["kl"].mean()
    assert found["tuned lens", EMBEDDING] < found["logit lens", EMBEDDING] / 3
    for layer in range(2):
        assert found["tuned lens", layer] < found["logit lens", layer]


def test_a_tuned_lens_of_another_model_is_refused(
    subject: Subject, bytewise: Subject, tmp_path: Path
) -> None:
    file = save_lens(tmp_path / "lens.safetensors", TunedLens(bytewise))
    with pytest.raises(UserError, match="fits world"):
        load_lens(file, subject)
    tensors, known = read_safetensors(save_lens(tmp_path / "own.safetensors", TunedLens(subject)))
    renamed = tmp_path / "renamed.safetensors"
    write_safetensors(renamed, tensors, {**known, "subject": "other"})
    with pytest.raises(UserError, match="trained on other, not on world"):
        load_lens(renamed, subject)
    load_lens(renamed, subject, check_model=False)


def test_a_readout_adds_up_spellings_and_takes_their_best_rank(subject: Subject) -> None:
    prompts = [prompt_at(subject, "the capital of france is"), prompt_at(subject, "the capital of spain is")]
    paris, madrid = (subject.single_token(word) for word in ("paris", "madrid"))
    words = {"both": [frozenset({paris, madrid})] * 2, "paris": [frozenset({paris})] * 2}
    found = read_words(LogitLens(subject), read_stream(subject, prompts), words)
    last = found[found["layer"] == subject.n_layers - 1].set_index(["word", "item"])
    assert last.loc[("both", 0), "rank"] == 0 and last.loc[("both", 1), "rank"] == 0
    assert last.loc[("paris", 0), "rank"] == 0 and last.loc[("paris", 1), "rank"] > 0
    assert last.loc[("both", 1), "probability"] > 0.9
    table = words_by_layer(found.assign(place="last"), ["place"], 0)
    row = table[(table["layer"] == subject.n_layers - 1) & (table["word"] == "paris")]
    assert row["top"].item() == 0.5 and row["top_low"].item() < 0.5 < row["top_high"].item()


def test_halves_are_halves_of_every_group() -> None:
    groups = ["a"] * 7 + ["b"] * 4
    first, second = split_halves(groups, 0)
    assert sorted(first + second) == list(range(11))
    assert [sum(groups[i] == g for i in first) for g in "ab"] == [3, 2]
    assert split_halves(groups, 1) != (first, second)
    with pytest.raises(UserError, match="too few"):
        split_halves(["a", "b"], 0)


class TestPrompts:
    """Where a span stands, in words, in bytes, under padding; and what is refused."""

    def test_the_last_token_of_the_last_occurrence(self, subject: Subject) -> None:
        text = "near paris , the country of paris is"
        assert subject.token_strings([prompt_at(subject, text, "paris").tokens[-2]]) == ["paris"]
        assert prompt_at(subject, text, "paris").position == -2
        assert prompt_at(subject, text, "paris", "first").position == -7
        assert prompt_at(subject, text).position == -1

    def test_spans_of_several_tokens(self, bytewise: Subject) -> None:
        found = span_positions(bytewise, "a bcd e", "bcd")
        assert found == [-5, -4, -3]
        assert span_positions(bytewise, "ab ab", "ab", "first") == [-5, -4]

    def test_a_span_that_is_not_there_shows_the_tokens(self, subject: Subject) -> None:
        with pytest.raises(UserError, match=r"\[the\] \[capital\]") as caught:
            prompt_at(subject, TEXT, "spain")
        assert "'spain'" in str(caught.value)

    def test_a_token_that_goes_on_behind_the_span(self, subject: Subject) -> None:
        with pytest.raises(UserError, match="goes on after it"):
            prompt_at(subject, TEXT, "fran")

    def test_too_long_a_prompt(self, subject: Subject) -> None:
        with pytest.raises(UserError, match="do not fit the context"):
            prompt_at(subject, "the " * 400)

    def test_special_tokens_and_positions_outside(self, subject: Subject) -> None:
        special = min(subject.special_ids)
        with pytest.raises(UserError, match="special token"):
            check_ordinary(subject, Prompt((special, 20), -2))
        with pytest.raises(UserError, match="not in a prompt of 2 tokens"):
            check_ordinary(subject, Prompt((20, 21), -3))

    def test_a_target_that_is_not_one_token_and_a_site_outside_the_stream(self, subject: Subject) -> None:
        with pytest.raises(UserError, match="does not know the word"):
            lens(subject, TEXT, targets=["atlantis"])
        with pytest.raises(UserError, match="not in the residual stream"):
            lens(subject, TEXT, sites=[Site("mlp_post", 0)])


def data_of(page: str) -> list[dict[str, Any]]:
    """What a lens page carries for its script, which reads no more than the standard has."""

    def no_json(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    (found,) = re.findall(r'id="data">(.*?)</script>', page, re.S)
    return json.loads(found, parse_constant=no_json)


def test_the_page_holds_every_view_and_nothing_that_runs(subject: Subject) -> None:
    views = [lens(subject, TEXT, targets=["paris"], k=2), lens(subject, TEXT, lens=TunedLens(subject), k=2)]
    views.append(lens(subject, "near spain", sites=[Site("mlp_out", 1)], k=2))
    page = lens_page(views, "</title><script>alert(1)</script>")
    assert "<script>alert" not in page and "http://" not in page.replace("http://www.w3.org", "")
    data = data_of(page)
    assert [len(text["grids"]) for text in data] == [2, 1]
    grid = data[0]["grids"][0]
    assert grid["rows"] == ["emb", *map(str, range(subject.n_layers))]
    assert grid["tokens"][-1][-1][0] == "paris"
    assert grid["targets"][0] == {
        "word": "paris",
        "probability": grid["targets"][0]["probability"],
        "rank": views[0].rank[..., 0].tolist(),
    }
    with pytest.raises(UserError, match="no view"):
        lens_page([])


def test_an_undefined_number_is_null_on_the_page(subject: Subject) -> None:
    view = lens(subject, TEXT, k=1)
    view.kl[0, 0], view.entropy[0, 1] = torch.inf, torch.nan
    grid = data_of(lens_page([view]))[0]["grids"][0]
    assert grid["kl"][0][0] is None and grid["entropy"][0][1] is None
    assert grid["kl"][1][0] == pytest.approx(float(view.kl[1, 0]), rel=1e-3)


def test_words_cannot_end_the_page_s_data(bytewise: Subject) -> None:
    page = lens_page([lens(bytewise, "</script><script>alert(1)</script>", k=1)])
    assert "<script>alert" not in page
    data = data_of(page)
    assert "".join(data[0]["tokens"]).endswith("</script><script>alert(1)</script>")


def test_a_view_shows_itself_in_a_notebook_and_in_a_line(bytewise: Subject) -> None:
    view = lens(bytewise, "<b>a</b>", k=2)
    html = view._repr_html_()
    assert "<b>" not in html and "<script" not in html and html.count("<tr>") == len(view.sites) + 1
    assert "&lt;" in html and "entropy" in html
    assert repr(view) == f"LensView(logit lens at {len(view.sites)} sites of {len(view.tokens)} tokens)"


def test_the_figure_is_a_grid_of_layers_and_tokens(subject: Subject) -> None:
    figure = lens(subject, TEXT, k=1).figure()
    for width in (900, 350):
        titles = [e.text or "" for e in ElementTree.fromstring(figure.svg(width)).iter("title")]
        assert len(titles) >= subject.n_layers + 1
        assert any(title.startswith("7, is: paris") for title in titles) or width < 900


def test_a_chat_is_read_as_its_template_writes_it(subject: Subject) -> None:
    ids = subject.encode("the capital of france is")
    assert interp.lens(subject, Conversation(ids)).tokens.tolist() == ids
    assert interp.lens(subject, ids).tokens.tolist() == [subject.bos_id, *ids]
