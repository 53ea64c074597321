"""Scores from a judge's ratings: closed forms, intervals that cover, nulls, failures, perfect judges."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from interp.descriptions.candidate import SCALE, Candidate, Judge, Shown, Simulated
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.scorers.judge_simulated import SimulatorJudge
from interp.descriptions.scorers.judged import JudgedScore, judged
from tests.excerpts import excerpt, words

RATINGS = st.lists(st.one_of(st.none(), st.integers(0, 10)), max_size=12)
Rate = Callable[[Candidate, int], float | None]


class Rated:
    """A judge whose rating of each text, named by its number, is written down."""

    name = "written down"

    def __init__(self, rate: Rate) -> None:
        self._rate = rate

    async def rate(self, candidate: Candidate, shown: Sequence[Shown]) -> list[float | None]:
        return [self._rate(candidate, one.excerpt.window.document) for one in shown]


def _texts(n: int, first: int = 0) -> list[Shown]:
    return [Shown(excerpt(["a"], number=first + i)) for i in range(n)]


def _score(
    yes: Sequence[float | None], no: Sequence[float | None], draws: int = 20, seed: int = 0
) -> JudgedScore:
    ratings = [*yes, *no]
    judge = Rated(lambda candidate, number: ratings[number])
    assert isinstance(judge, Judge)
    shown = _texts(len(ratings))
    work = judged(judge, Candidate("x", "me"), shown[: len(yes)], shown[len(yes) :], seed=seed, draws=draws)
    return asyncio.run(work)


@settings(max_examples=60)
@given(RATINGS, RATINGS)
def test_both_scores_are_scikit_learns_and_what_was_not_rated_is_counted(
    yes: list[int | None], no: list[int | None]
) -> None:
    found = _score(*([None if one is None else one / 10 for one in part] for part in (yes, no)))
    true, false = ([one for one in part if one is not None] for part in (yes, no))
    assert (found.n_positive, found.n_negative) == (len(true), len(false))
    assert found.failures == yes.count(None) + no.count(None)
    if not true or not false:
        assert np.isnan([*found.auroc, *found.balanced_accuracy]).all()
        return
    truth, rated = [1] * len(true) + [0] * len(false), np.array([*true, *false])
    assert found.auroc[0] == pytest.approx(roc_auc_score(truth, rated))
    assert found.balanced_accuracy[0] == pytest.approx(balanced_accuracy_score(truth, rated >= 5))
    for value, low, high in (found.auroc, found.balanced_accuracy):
        assert 0 <= low <= high <= 1 and 0 <= value <= 1


def test_a_judge_that_knows_reaches_1_and_one_that_lies_0() -> None:
    right, wrong = _score([1.0] * 7, [0.0] * 9), _score([0.0] * 7, [1.0] * 9)
    assert right.auroc == right.balanced_accuracy == (1.0, 1.0, 1.0)
    assert wrong.auroc == wrong.balanced_accuracy == (0.0, 0.0, 0.0)
    same = _score([0.3] * 7, [0.3] * 9)
    assert same.auroc == same.balanced_accuracy == (0.5, 0.5, 0.5)


def test_the_interval_covers_the_true_score_about_as_often_as_it_says() -> None:
    """Ratings uniform on 0 to 10, those of positives the larger of two: AUROC 2/3 without ties."""
    rng, hits, n = np.random.default_rng(0), np.zeros(2), 150
    accuracy = (1 - 0.5**2 + 0.5) / 2
    for seed in range(n):
        yes, no = rng.random((50, 2)).max(1).tolist(), rng.random(50).tolist()
        found = _score(yes, no, draws=200, seed=seed)
        hits += [
            found.auroc[1] <= 2 / 3 <= found.auroc[2],
            found.balanced_accuracy[1] <= accuracy <= found.balanced_accuracy[2],
        ]
    assert (hits / n > 0.90).all() and (hits / n < 0.985).all()


def test_pairs_are_resampled_together() -> None:
    """A prompt's two texts are rated alike: however prompts are drawn, half of the answers are right."""
    ratings = np.random.default_rng(0).random(30).tolist()
    judge, shown, own = Rated(lambda _, number: ratings[number % 30]), _texts(60), Candidate("x", "me")
    pairs, apart = (
        asyncio.run(judged(judge, own, shown[:30], shown[30:], paired=paired)) for paired in (True, False)
    )
    assert pairs.balanced_accuracy == (0.5, 0.5, 0.5)
    assert apart.balanced_accuracy[1] < 0.45 < 0.55 < apart.balanced_accuracy[2]
    assert pairs.auroc == (0.5, 0.5, 0.5)


def test_equal_seeds_draw_equal_intervals() -> None:
    ratings = np.random.default_rng(1).random((2, 20)).tolist()
    first, again, other = (_score(*ratings, draws=100, seed=seed) for seed in (3, 3, 4))
    assert (first.auroc, first.balanced_accuracy) == (again.auroc, again.balanced_accuracy)
    assert first.auroc != other.auroc


def test_descriptions_of_other_features_are_at_chance() -> None:
    """Every text shows one of 40 words; a judge who knows them rates texts by the word described."""
    names = [f"word{i}" for i in range(40)]
    rng = np.random.default_rng(0)
    other_words = [names[i] for i in rng.integers(1, 40, 60)]
    shown = [names[0]] * 30 + other_words[30:]
    texts = [Shown(words(f"a {name} here", number=i)) for i, name in enumerate(shown)]

    def rate(candidate: Candidate, number: int) -> float | None:
        return float(candidate.text == shown[number])

    nulls = [Candidate(name, "me") for name in names[1:]]
    own = Candidate(names[0], "me")
    found = asyncio.run(judged(Rated(rate), own, texts[:30], texts[30:], nulls))
    assert found.auroc[0] == found.balanced_accuracy[0] == 1.0
    assert found.n_null == 39
    for mean, low, high in (found.null_auroc, found.null_balanced_accuracy):
        assert mean == pytest.approx(0.5, abs=0.02) and low <= mean <= high < 0.75
    assert np.isnan(asyncio.run(judged(Rated(rate), own, texts[:30], texts[30:])).null_auroc).all()


def test_a_null_without_ratings_is_left_out() -> None:
    def rate(candidate: Candidate, number: int) -> float | None:
        return None if candidate.text == "mute" else float(number < 2)

    shown, own = _texts(4), Candidate("own", "me")
    nulls = [Candidate("mute", "me"), Candidate("other", "me")]
    found = asyncio.run(judged(Rated(rate), own, shown[:2], shown[2:], nulls))
    assert found.null_auroc == (1.0, 1.0, 1.0)
    assert (found.failures, found.null_failures, found.n_null) == (0, 4, 1)


class Written:
    """A simulator that predicts what each excerpt's window holds; nothing where its document is negative."""

    name = "written down"

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        return Simulated(
            tuple(one.values.astype(np.float64) if one.window.document >= 0 else None for one in excerpts)
        )


def test_a_simulator_judges_by_its_largest_prediction_and_marks_by_their_mean() -> None:
    one = excerpt(["a", "b", "c", "d"], [2, 8, 10, 4], [True, True, False, True])
    marks = [np.array(on, dtype=np.bool_) for on in ([1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0])]
    judge = SimulatorJudge(Written())
    shown = [Shown(one), *(Shown(one, mark) for mark in marks), Shown(excerpt(["a"], [9], number=-1))]
    rated = asyncio.run(judge.rate(Candidate("x", "me"), shown))
    assert rated == [0.8, 0.5, 0.4, 0.0, None]
    assert asyncio.run(judge.rate(Candidate("x", "me"), [Shown(excerpt(["a"], [5], [False]))])) == [0.0]
    assert isinstance(judge, Judge) and judge.name == "written down"


def test_a_simulator_that_knows_the_activations_is_a_judge_without_fault() -> None:
    texts = [Shown(words("she left Lyon", "Lyon" if i < 5 else "", SCALE, i)) for i in range(9)]
    texts.append(Shown(words("unreadable", number=-1)))
    found = asyncio.run(judged(SimulatorJudge(Written()), Candidate("x", "me"), texts[:5], texts[5:]))
    assert found.auroc[0] == found.balanced_accuracy[0] == 1.0
    assert (found.n_positive, found.n_negative, found.failures) == (5, 4, 1)
