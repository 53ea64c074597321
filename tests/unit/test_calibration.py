"""How well a score ranks descriptions: closed forms and planted truths."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from interp.compare.calibration import calibrate


def _truths(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.random(rng.integers(4, 9)) for _ in range(n)]


def test_a_score_that_is_the_truth_chooses_the_best_candidate() -> None:
    truth = _truths(30)
    found = calibrate(truth, [10 * t - 3 for t in truth])
    assert found.spearman[0] == found.pairs[0] == pytest.approx(1)
    assert found.regret[0] == 0
    assert found.chosen[0] == pytest.approx(np.mean([t.max() for t in truth]))
    assert found.at_random[0] == pytest.approx(np.mean([t.mean() for t in truth]))
    assert found.null_high < found.spearman[1]


def test_the_rank_correlation_is_scipys_mean_over_features() -> None:
    truth = _truths(20, 1)
    rng = np.random.default_rng(2)
    score = [np.round(t + rng.normal(size=len(t)), 1) for t in truth]
    expected = np.mean([spearmanr(t, s).statistic for t, s in zip(truth, score, strict=True)])
    assert calibrate(truth, score).spearman[0] == pytest.approx(expected)


def test_a_score_without_meaning_lies_inside_its_null() -> None:
    truth = _truths(200, 3)
    rng = np.random.default_rng(4)
    found = calibrate(truth, [rng.random(len(t)) for t in truth])
    assert found.null_low < found.spearman[0] < found.null_high
    assert found.pairs[1] < 0.5 < found.pairs[2]


def test_a_reversed_score_is_negative_and_chooses_the_worst() -> None:
    truth = _truths(10)
    found = calibrate(truth, [-t for t in truth])
    assert found.spearman[0] == pytest.approx(-1)
    assert found.chosen[0] == pytest.approx(np.mean([t.min() for t in truth]))


def test_a_constant_score_says_nothing_and_a_missing_one_ranks_last() -> None:
    truth = [np.array([0.1, 0.9, 0.5])]
    constant = calibrate(truth, [np.ones(3)])
    assert (constant.spearman[0], constant.pairs[0], constant.chosen[0]) == (0, 0.5, pytest.approx(0.5))
    missing = calibrate(truth, [np.array([0.2, np.nan, 0.3])])
    assert missing.undefined == 1
    assert missing.chosen[0] == 0.5


def test_features_whose_candidates_are_equally_true_are_left_out() -> None:
    truth = [np.array([0.5, 0.5]), np.array([0.2, np.nan, 0.7])]
    found = calibrate(truth, [np.array([1.0, 0.0]), np.array([0.0, 9.0, 1.0])])
    assert (found.n_features, found.n_candidates, found.pairs[0]) == (1, 2, 1)
