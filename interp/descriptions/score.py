"""How well simulated activations agree with true ones: raw correlation, its interval and its null.

The correlation is taken once over the concatenated tokens of all windows, as in Bills et al. 2023 (OpenAI,
"Language models can explain neurons in language models", section "Scoring"). A negative correlation stays
negative; one that does not exist is NaN with a reason, never zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.descriptions.evidence import Window
from interp.statistics.estimate import bootstrap_counts, central

Statistics = Float[np.ndarray, "window 6"]
"""For each window n, Σx, Σy, Σxy, Σx², Σy² of predictions x and truths y over the tokens that count."""


@dataclass(frozen=True)
class Measured:
    """One description's statistics on its feature's top windows and on the random windows all share."""

    top: Float[np.ndarray, "top_window 6"]
    random: Float[np.ndarray, "random_window 6"]


@dataclass(frozen=True)
class Score:
    """A correlation with its 95% bootstrap interval (over windows) and its shuffled-description null.

    `null_mean`, `null_low` and `null_high` are the mean and central 95% of the scores that the descriptions
    of `n_null` other features reach on the same windows; `null_undefined` more had no score.
    `undefined` says why `value` is NaN; it is None when there is a value.
    """

    value: float
    low: float
    high: float
    null_mean: float
    null_low: float
    null_high: float
    n_windows: int
    n_tokens: int
    n_null: int
    null_undefined: int
    undefined: str | None


def statistics(windows: Sequence[Window], predicted: Sequence[np.ndarray]) -> Statistics:
    """Computes the sufficient statistics of every window's correlation with its prediction."""
    rows = np.zeros((len(windows), 6))
    for i, (window, guess) in enumerate(zip(windows, predicted, strict=True)):
        x = guess[window.counts].astype(np.float64)
        y = window.values[window.counts].astype(np.float64)
        rows[i] = len(x), x.sum(), y.sum(), x @ y, x @ x, y @ y
    return rows


def correlation(sums: Float[np.ndarray, "*batch 6"]) -> Float[np.ndarray, "*batch"]:
    """Computes Pearson's r from (summed) statistics; NaN where prediction or truth does not vary."""
    n, x, y, xy, xx, yy = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = xy - x * y / n
        # Below the rounding error of the sums a variance is zero: a constant stays undefined.
        var_x = np.where(xx - x * x / n > 1e-12 * xx, xx - x * x / n, 0.0)
        var_y = np.where(yy - y * y / n > 1e-12 * yy, yy - y * y / n, 0.0)
        r = covariance / np.sqrt(var_x * var_y)
    return np.where((var_x > 0) & (var_y > 0), np.clip(r, -1.0, 1.0), np.nan)


def reason_undefined(sums: Float[np.ndarray, " 6"]) -> str | None:
    """Says why a correlation is NaN; None if it is defined."""
    n, x, y, _, xx, yy = sums.tolist()
    if n == 0:
        return "no tokens"
    if yy - y * y / n <= 1e-12 * yy:
        return "the feature is constant on these windows"
    if xx - x * x / n <= 1e-12 * xx:
        return "the prediction is constant on these windows"
    return None


def score(
    strata: Sequence[Statistics], nulls: Sequence[Sequence[Statistics]] = (), seed: int = 0, draws: int = 1000
) -> Score:
    """Score one description.

    `strata` are the statistics of each kind of window (one kind, or top and random), resampled apart so that
    their ratio stays; `nulls` are the same for descriptions of other features on the same windows.
    """
    total = sum((rows.sum(axis=0) for rows in strata), np.zeros(6))
    counts = bootstrap_counts(seed, tuple(map(len, strata)), draws)
    resampled = sum((count @ rows for count, rows in zip(counts, strata, strict=True)), np.zeros((draws, 6)))
    value = float(correlation(total))
    boot = correlation(resampled)
    others = np.array(
        [float(correlation(sum((rows.sum(axis=0) for rows in other), np.zeros(6)))) for other in nulls]
    )
    defined = others[~np.isnan(others)]
    low, high = central(boot) if not np.isnan(value) and sum(map(len, strata)) > 1 else (np.nan, np.nan)
    null_low, null_high = central(others)
    return Score(
        value=value,
        low=low,
        high=high,
        null_mean=float(defined.mean()) if len(defined) else np.nan,
        null_low=null_low,
        null_high=null_high,
        n_windows=sum(map(len, strata)),
        n_tokens=int(total[0]),
        n_null=len(defined),
        null_undefined=len(others) - len(defined),
        undefined=reason_undefined(total),
    )


@dataclass(frozen=True)
class Correlations:
    """Scores on a feature's strongest windows, on random ones, and on equally many of both."""

    top: Score
    random: Score
    both: Score


def correlations(own: Measured, foreign: Sequence[Measured], seed: int = 0) -> Correlations:
    """Scores one description; `foreign` are the statistics of other features' ones on the same windows."""

    def strata(one: Measured) -> list[Statistics]:
        n = min(len(own.top), len(own.random))
        return [one.top[:n], one.random[:n]]

    return Correlations(
        top=score([own.top], [[one.top] for one in foreign], seed),
        random=score([own.random], [[one.random] for one in foreign], seed),
        both=score(strata(own), [strata(one) for one in foreign], seed),
    )


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Probability that a positive scores above a negative (ties count half); NaN without both."""
    if not len(positive) or not len(negative):
        return np.nan
    p, n = np.asarray(positive)[:, None], np.asarray(negative)[None, :]
    return float((p > n).mean() + 0.5 * (p == n).mean())
