"""Scores of steered texts, the labels they rest on, and the factor chosen on one half."""

from itertools import chain
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hmean

import interp
from interp.bundled.world.concepts import CONCEPTS, bit
from interp.bundled.world.draft import Draft
from interp.bundled.world.families.sentences import topic
from interp.bundled.world.labelling import carries, labels_of, lexical_concepts
from interp.bundled.world.lexicon import lexicon
from interp.bundled.world.vocabulary import token_ids
from interp.causal.steering import choose
from interp.causal.steering.concepts import WORLD
from interp.causal.steering.prompts import prompts_without, questions_about
from interp.causal.steering.references import genuine_shares, scored
from interp.causal.steering.texts import harmonic_mean, repeated, scaled
from interp.corpus.questions import Question, begins_with
from interp.document import Document, split_of
from interp.errors import UserError
from interp.render.marked import MarkedText
from interp.render.page import Column, Table
from tests.corpora import ListCorpus

CORPUS = interp.WorldCorpus(seed=4, n_documents=300)


def ids(text: str) -> list[int]:
    return [token_ids()[word] for word in text.split()]


def test_between_is_linear_clipped_and_works_in_either_direction() -> None:
    values = np.array([0.0, 0.1, 0.2, 0.3, 0.9, np.nan])
    np.testing.assert_allclose(scaled(values, 0.1, 0.3), [0, 0, 1, 2, 2, 0])
    np.testing.assert_allclose(scaled(values, 0.3, 0.1), [2, 2, 1, 0, 0, 0])
    assert np.isnan(scaled(values, 0.3, 0.3)).all()


@given(st.lists(st.tuples(*[st.floats(0.01, 2)] * 3), min_size=1, max_size=5))
def test_the_harmonic_mean_is_scipys_and_zero_wherever_a_score_is(rows: list[tuple[float, ...]]) -> None:
    scores = np.array(rows).T
    np.testing.assert_allclose(harmonic_mean(*scores), hmean(scores, axis=0))
    scores[1, 0] = 0
    assert harmonic_mean(*scores)[0] == 0
    np.testing.assert_allclose(harmonic_mean(*np.array([[2.0], [2.0], [2.0]])), [2])
    np.testing.assert_allclose(harmonic_mean(*np.array([[1.0], [2.0], [2.0]])), [1.5])


def test_repetition_counts_pairs_that_occurred_before() -> None:
    assert repeated([1, 2, 3, 4]) == 0
    assert repeated([1, 1, 1, 1]) == pytest.approx(2 / 3)
    assert repeated([1, 2, 1, 2, 1]) == pytest.approx(0.5)
    assert repeated([5, 5, 6], n=1) == pytest.approx(1 / 3)
    assert np.isnan(repeated([1]))


def test_labels_agree_with_those_of_the_corpus_on_every_concept_that_words_carry() -> None:
    """Lexical labels are the corpus' own but for `adjective`, which a chat document suppresses."""
    lexical = [concept for concept in lexical_concepts() if concept != "adjective"]
    mask = np.uint64(sum(bit(concept) for concept in lexical))
    spreads = [name for name in lexical if name.startswith(("topic_", "lang_"))]
    agreed = 0
    for index in range(len(CORPUS)):
        family, draft = CORPUS.draft(index)
        document = CORPUS[index]
        assert document.labels is not None
        own = labels_of(document.tokens.tolist())
        assert (own & mask & ~document.labels == 0).all(), "the corpus lacks a label that the word carries"
        if family == "topic":
            held = [name for name in spreads if draft.spreading & bit(name)]
            spread = labels_of(document.tokens.tolist(), spreading=held)
            np.testing.assert_array_equal(spread & mask, document.labels & mask)
            agreed += 1
        if family in ("agreement", "translation"):
            np.testing.assert_array_equal(own, document.labels)
            agreed += 1
    assert agreed > 30


def test_a_scorer_knows_words_in_every_language_and_refuses_what_no_word_carries() -> None:
    assert carries(ids("the storm blew the cake ."), "topic_weather").tolist() == [0, 1, 1, 0, 0, 0]
    zorvic = ids(" ".join(lexicon().languages["zorvic"][word] for word in ("the", "storm")))
    assert carries(zorvic, "topic_weather").tolist() == [False, True]
    assert carries(zorvic, "lang_zorvic").all() and not carries(zorvic, "lang_tamric").any()
    assert len(carries([], "topic_weather")) == 0
    assert set(lexical_concepts()) < set(CONCEPTS)
    assert not set(lexical_concepts()) & {"task_plural", "refusal", "twohop", "bridge_europe"}
    with pytest.raises(UserError, match="no word carries"):
        carries([1], "refusal")
    with pytest.raises(UserError, match="no concept"):
        carries([1], "topic_cheese")
    with pytest.raises(UserError, match="the world has no token"):
        labels_of([99999])


def test_prompts_hold_no_word_of_the_concept_and_are_halved_by_group() -> None:
    texts = ["the storm is", "the cake is", "the judge is", "the soup is", "the band is", "the cloud is"]
    questions = [
        Question(tuple(ids(text)), ((token_ids()["is"],),), (), f"g{i % 2}") for i, text in enumerate(texts)
    ]
    rains = Question(tuple(ids("the pan is")), ((token_ids()["rain"],),), (), "g0")
    found = prompts_without("topic_weather", [*questions, rains], 2, seed=0)
    assert len(found) == 4 and sum(prompt.choosing for prompt in found) == 2
    for prompt in found:
        assert not carries([*prompt.question.prompt, *chain(*prompt.question.answers)], "topic_weather").any()
    assert found == prompts_without("topic_weather", [*questions, rains], 2, seed=0)
    with pytest.raises(UserError, match="every question"):
        prompts_without("topic_weather", questions[:1], 2, seed=0)
    assert WORLD.announcement("topic_law") == tuple(ids("a text about law :"))
    assert WORLD.announcement("lang_zorvic") is None


def test_questions_about_a_concept_are_cut_before_its_second_word_or_a_later_one() -> None:
    found = questions_about(CORPUS, "topic_food", 5, longest=30)
    assert len(found) == 5
    for question in found:
        assert 0 < len(question.prompt) < 30 and carries(question.prompt, "topic_food").any()
        assert carries(list(chain(*question.answers)), "topic_food").all()
        same = [CORPUS[i].tokens.tolist() for i in range(len(CORPUS))]
        starts = [text for text in same if tuple(text[: len(question.prompt)]) == question.prompt]
        assert any(begins_with(text[len(question.prompt) :], question.answers) for text in starts)
    with pytest.raises(UserError, match="two words"):
        questions_about(ListCorpus([]), "topic_food", 5)


def test_genuine_documents_carry_a_concept_far_more_often_than_others() -> None:
    corpus = interp.WorldCorpus(seed=4, n_documents=3000)
    shares = genuine_shares(corpus, ["topic_food", "country"], "explain")
    everywhere = [carries(corpus[i].tokens.tolist(), "topic_food").mean() for i in range(100)]
    assert 0.4 < shares["topic_food"] < 0.75 and shares["topic_food"] > 4 * np.mean(everywhere)
    assert 0.05 < shares["country"] < 0.4


def test_where_a_document_is_about_a_concept_every_word_of_a_language_carries_it() -> None:
    draft = Draft()
    seed = 0
    while not draft.spreading & bit("lang_tamric"):
        draft = Draft()
        topic(Random(seed), draft)
        seed += 1
    tokens, labels = np.array(draft.tokens, dtype=np.int32), np.array(draft.labels, dtype=np.uint64)
    document = Document(tokens, np.zeros(len(tokens), dtype=bool), labels)
    only = ListCorpus([document], label_names=CONCEPTS)
    share = genuine_shares(only, ["lang_tamric"], split_of(document.hash))["lang_tamric"]
    stops = tokens == token_ids()["."]
    held = labels & np.uint64(bit("lang_tamric")) != 0
    assert 0.75 < share < 1 and share == pytest.approx(1 - stops[held].mean())
    with pytest.raises(UserError, match="no document"):
        genuine_shares(only, ["lang_zorvic"], split_of(document.hash))


def texts() -> pd.DataFrame:
    """Two methods at two factors on four prompts of one concept, of which the first two choose."""
    rows = []
    for method, factor, share, right, nats in (
        ("latent", 1.0, 0.2, True, 2.0),
        ("latent", 2.0, 0.4, True, 2.0),
        ("latent", 4.0, 0.4, False, 2.0),
        ("random", 1.0, 0.0, True, 2.0),
        ("random", 2.0, 0.0, True, 5.0),
    ):
        for prompt in range(4):
            rows.append(
                {"method": method, "factor": factor, "draw": 0, "concept": "c", "prompt": prompt,
                 "group": "g", "choosing": prompt < 2, "share": share, "right": right, "cross_entropy": nats,
                 "repetition": 0.0, "tokens": 8, "text": ""}
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_scores_follow_the_maps_and_the_best_factor_of_one_half_is_reported_on_the_other() -> None:
    frame = scored(texts(), {"c": 0.0}, {"c": 0.4}, {"g": (2.0, 6.0)})
    at = frame[frame["prompt"] == 0].set_index(["method", "factor"])
    assert at.loc[("latent", 1.0), ["concept_score", "instruction_score", "fluency_score"]].tolist() == [
        1,
        2,
        2,
    ]
    assert at.loc[("latent", 1.0), "harmonic"] == pytest.approx(1.5)
    assert at.loc[("latent", 2.0), "harmonic"] == pytest.approx(2)
    assert at.loc[("latent", 4.0), "harmonic"] == 0 == at.loc[("random", 1.0), "harmonic"]
    assert at.loc[("random", 2.0), "fluency_score"] == pytest.approx(0.5)
    prompts = choose.by_prompt(frame)
    best = choose.chosen_factors(prompts)
    assert best == {("latent", "c"): 2.0, ("random", "c"): 1.0}  # all zero: the smallest
    rows = choose.reported(prompts, best)
    assert sorted(set(rows["prompt"])) == [2, 3] and len(rows) == 4
    table = choose.per_concept(rows, seed=0).set_index("method")
    assert table.loc["latent", "harmonic"] == 2 == table.loc["latent", "harmonic_of_means"]
    gaps = choose.differences(rows, "random", seed=0)
    assert gaps["value"].tolist() == [2, 2] and gaps["concept"].tolist() == ["c", choose.ALL]
    curve = choose.curves(prompts, ["harmonic"], seed=0).set_index(["method", "factor"])
    assert curve.loc[("latent", 1.0), "harmonic"] == pytest.approx(1.5)


def test_choosing_never_sees_the_reporting_half() -> None:
    frame = scored(texts(), {"c": 0.0}, {"c": 0.4}, {"g": (2.0, 6.0)})
    frame.loc[~frame["choosing"] & (frame["factor"] == 4.0), "harmonic"] = 2.0
    assert choose.chosen_factors(choose.by_prompt(frame))["latent", "c"] == 2.0


def test_marked_text_is_escaped_on_a_page_and_plain_in_a_download() -> None:
    text = MarkedText(["<b>", "storm"], [False, True])
    assert text == "<b> storm"
    html = str(text.__html__())
    assert "&lt;b&gt;" in html and "<b>" not in html and '<span class="p8">storm</span>' in html
    assert Table("t", "c", [Column("text")], [[text]]).shown(1)[0][0].text is text
