"""Correlations against numpy and scipy, honest where there is none, with intervals that cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import roc_auc_score

from interp.descriptions import Description, End, PatternTrie, Window, score_descriptions
from interp.descriptions.score import auroc, score, statistics


def windows(values: np.ndarray, counts: np.ndarray | None = None) -> list[Window]:
    counts = np.ones(values.shape, dtype=bool) if counts is None else counts
    tokens = np.arange(values.shape[1])
    return [
        Window(tokens, v.astype(np.float32), i, c)
        for i, (v, c) in enumerate(zip(values, counts, strict=True))
    ]


@given(st.integers(0, 2**32 - 1))
def test_value_is_pearson_over_all_tokens_that_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = rng.normal(size=(2, 5, 9)).astype(np.float32)
    counts = rng.random((5, 9)) < 0.7
    counts[0, :3] = True
    found = score([statistics(windows(truth, counts), list(guess))])
    assert found.value == pytest.approx(pearsonr(guess[counts], truth[counts])[0], abs=1e-5)
    assert found.n_tokens == counts.sum()
    assert found.low <= found.high


def test_negative_stays_negative() -> None:
    truth = np.random.default_rng(0).random((6, 8))
    found = score([statistics(windows(truth), list(-truth.astype(np.float32)))])
    assert found.value == pytest.approx(-1.0)
    assert found.high == pytest.approx(-1.0)
    assert found.undefined is None


@pytest.mark.parametrize(
    ("truth", "guess", "reason"),
    [
        (0.3, None, "the feature is constant on these windows"),
        (None, 0.1, "the prediction is constant on these windows"),
    ],
)
def test_no_correlation_is_nan_with_a_reason(truth: float | None, guess: float | None, reason: str) -> None:
    noise = np.random.default_rng(0).random((40, 30))
    true = noise if truth is None else np.full_like(noise, truth)
    guessed = noise if guess is None else np.full_like(noise, guess)
    found = score([statistics(windows(true), list(guessed))])
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.undefined == reason


def test_no_windows_is_nan_with_a_reason() -> None:
    found = score([statistics([], [])])
    assert np.isnan(found.value)
    assert found.undefined == "no tokens"


def test_interval_covers_the_true_correlation() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        guess = rng.normal(size=(40, 10))
        truth = 0.6 * guess + 0.8 * rng.normal(size=(40, 10))
        found = score([statistics(windows(truth), list(guess))], seed=seed, draws=400)
        covered += found.low <= 0.6 <= found.high
    assert 180 <= covered <= 199


def test_bootstrap_from_statistics_equals_resampling_the_windows() -> None:
    rng = np.random.default_rng(3)
    truth, guess = rng.normal(size=(2, 12, 7)).astype(np.float32)
    rows = statistics(windows(truth), list(guess))
    found = score([rows], seed=5, draws=300)
    weights = np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12), size=300)
    drawn = [
        np.corrcoef(np.repeat(guess, w, axis=0).ravel(), np.repeat(truth, w, axis=0).ravel())[0, 1]
        for w in weights
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-5)


def test_auroc_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    high, low = rng.integers(0, 6, 30) / 2, rng.integers(0, 4, 20) / 2
    assert auroc(high.tolist(), low.tolist()) == pytest.approx(
        roc_auc_score([1] * 30 + [0] * 20, np.concatenate([high, low]))
    )
    assert np.isnan(auroc([], [1.0]))


def test_null_is_what_other_descriptions_reach_on_the_same_windows() -> None:
    # Feature i fires on tokens with bit i: independent features, another description is worth nothing.
    rows = np.random.default_rng(0).integers(0, 256, size=(60, 20))
    everywhere = np.ones(20, dtype=bool)
    descriptions, found = [], []
    for bit in range(8):
        fires = {(token,): End(1.0) for token in range(256) if token >> bit & 1}
        descriptions.append(Description(f"bit {bit}", (), PatternTrie(fires), 1))
        truths = (rows >> bit & 1).astype(np.float32)
        found.append(
            [
                Window(row, truth, i, everywhere)
                for i, (row, truth) in enumerate(zip(rows, truths, strict=True))
            ]
        )
    for one in score_descriptions(descriptions, [f[:30] for f in found], [f[30:] for f in found]):
        assert one.both.value == pytest.approx(1.0)
        assert (one.both.n_null, one.both.null_undefined) == (7, 0)
        assert abs(one.both.null_mean) < 0.03
        assert one.both.null_low < 0 < one.both.null_high < 0.1
        assert one.both.n_windows == one.top.n_windows + one.random.n_windows == 60


def test_both_is_as_many_top_as_random_windows() -> None:
    values = np.random.default_rng(0).random((30, 5))
    many = windows(values)
    description = Description("", (), PatternTrie({(1,): End(1.0)}), 1)
    (found,) = score_descriptions([description], [many[:4]], [many[4:]])
    assert (found.top.n_windows, found.random.n_windows, found.both.n_windows) == (4, 26, 8)
