"""Excerpts, the simulator of known meanings, simulation scores and agreement with labels, on the world."""

import asyncio

import numpy as np
import pytest

import interp
from interp.descriptions.candidate import SCALE, Candidate, Simulated
from interp.descriptions.description import Description
from interp.descriptions.evidence import Window, definition, label_mask
from interp.descriptions.excerpt import Excerpt, excerpts, pieces
from interp.descriptions.scorers.label_detection import label_detection
from interp.descriptions.scorers.simulation import simulation
from interp.descriptions.simulators.known import KnownSimulator
from interp.descriptions.trie import End, PatternTrie
from interp.subject.subject import Subject

CORPUS = interp.WorldCorpus(seed=3, n_documents=60)


def _windows(start: int = 0) -> list[Window]:
    found = []
    for index in range(len(CORPUS)):
        document = CORPUS[index]
        tokens = document.tokens[start : start + 60]
        if len(tokens):
            values = np.zeros(len(tokens), dtype=np.float32)
            found.append(Window(tokens, values, index, np.ones(len(tokens), dtype=bool), start))
    return found


@pytest.mark.parametrize("name", ["world", "pydoc"])
def test_pieces_laid_end_to_end_are_the_text_and_one_is_there_for_each_token(name: str) -> None:
    subject = interp.load(name)
    text = (
        "the capital of france is paris" if name == "world" else "def naïve(x):\n    return '日本 🙂'  # ok"
    )
    tokens = np.array(subject.encode(text))
    cut = pieces(subject, tokens)
    assert "".join(cut) == subject.decode(tokens.tolist())
    assert len(cut) == len(tokens) > 1
    assert pieces(subject, tokens[:0]) == ()


def test_a_concept_is_simulated_by_its_labels_wherever_the_window_starts(subject: Subject) -> None:
    candidate = Candidate(definition(CORPUS, "country"), "definition", concept="country")
    bit = np.uint64(1 << CORPUS.label_names.index("country"))
    for start in (0, 5):
        shown = excerpts(subject, _windows(start))
        simulated = asyncio.run(KnownSimulator(CORPUS).simulate(candidate, shown))
        for values, one in zip(simulated.values, shown, strict=True):
            assert values is not None
            labels = CORPUS[one.window.document].labels
            assert labels is not None
            expected = (labels[start : start + len(values)] & bit) != 0
            np.testing.assert_array_equal(values, SCALE * expected)


def test_a_trie_is_simulated_on_the_common_scale(subject: Subject) -> None:
    token = subject.encode("france")[0]
    trie = PatternTrie({(token,): End(3.0)}, baseline=0.5)
    candidate = Candidate("on france", "patterns", pattern=Description("on france", (), trie, 1))
    window = Window(
        np.array([token, token + 1]), np.array([2.0, 0.0], dtype=np.float32), 0, np.ones(2, dtype=bool)
    )
    shown = [Excerpt(window, pieces(subject, window.tokens))]
    simulated = asyncio.run(KnownSimulator(CORPUS).simulate(candidate, shown))
    np.testing.assert_allclose(simulated.values[0], [SCALE, SCALE / 6])


def test_words_alone_cannot_be_simulated(subject: Subject) -> None:
    with pytest.raises(interp.UserError, match="structured"):
        asyncio.run(
            KnownSimulator(CORPUS).simulate(Candidate("cities", "prompted"), excerpts(subject, _windows()))
        )


def test_agreement_of_a_concept_with_its_label_is_one_and_its_opposite_nought(subject: Subject) -> None:
    shown = excerpts(subject, _windows())
    label = [label_mask(CORPUS, one.window, "country") for one in shown]
    exact = Simulated(tuple(mark.astype(float) for mark in label))
    opposite = Simulated(tuple(-mark.astype(float) for mark in label))
    assert label_detection(exact, shown, label).value == 1
    assert label_detection(opposite, shown, label).value == 0
    silent = Simulated(tuple(np.zeros(len(mark)) for mark in label))
    found = label_detection(silent, shown, label)
    assert (found.value, found.positives) == (0.5, sum(int(mark.sum()) for mark in label))


def test_agreement_leaves_out_what_could_not_be_read_and_says_how_much(subject: Subject) -> None:
    shown = excerpts(subject, _windows())
    label = [label_mask(CORPUS, one.window, "country") for one in shown]
    partly = Simulated((None, *(mark.astype(float) for mark in label[1:])))
    found = label_detection(partly, shown, label)
    assert (found.failures, found.value) == (1, 1)
    nothing = label_detection(Simulated((None,) * len(shown)), shown, label)
    assert np.isnan(nothing.value)
    assert nothing.failures == len(shown)


def test_simulation_is_raw_beside_its_null_and_counts_failures(subject: Subject) -> None:
    shown = [
        Excerpt(
            Window(w.tokens, label_mask(CORPUS, w, "country").astype(np.float32), w.document, w.counts),
            ("",) * len(w.tokens),
        )
        for w in _windows()
    ]

    class Fixed:
        name = "fixed"

        async def simulate(self, candidate: Candidate, excerpts: list[Excerpt]) -> Simulated:
            sign = {"right": 1.0, "wrong": -1.0}[candidate.text]
            return Simulated((None, *(sign * one.values for one in excerpts[1:])))

    right, wrong = Candidate("right", "test"), Candidate("wrong", "test")
    found = asyncio.run(simulation(Fixed(), right, shown[:30], shown[30:], [wrong]))
    assert found.both.value == pytest.approx(1)
    assert found.both.null_mean == pytest.approx(-1)
    assert (found.failures, found.windows) == (1, len(shown))
    assert found.top.n_windows == 29
