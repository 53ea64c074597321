"""The difference between two populations' description scores, by a paired bootstrap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.describe.score import Measured, correlation


@dataclass(frozen=True)
class MeanScores:
    """Mean scores of two populations and their difference (second minus first), each (value, low, high)."""

    first: tuple[float, float, float]
    second: tuple[float, float, float]
    difference: tuple[float, float, float]


def compare_scores(
    first: Sequence[Measured], second: Sequence[Measured], draws: int = 1000, seed: int = 0
) -> MeanScores:
    """Mean correlation on top and random windows together of two populations, and the difference.

    The interval is a paired bootstrap (Koehn 2004): each draw resamples the random windows once for all
    features of both populations, since they were scored on the same text, and within each population the
    features and their own top windows. Features whose score is undefined in a draw are left out of it.
    As many random as top windows count for each feature, the first of either, as in `DescriptionScores.both`.
    """
    rng = np.random.default_rng(seed)
    n_random = max((min(len(m.top), len(m.random)) for m in (*first, *second)), default=0)
    shared = rng.multinomial(n_random, np.full(n_random, 1 / max(1, n_random)), size=draws)
    means, values = [], []
    for population in (first, second):
        drawn = np.stack([_draws(m, shared, rng) for m in population], 1)
        picks = rng.integers(len(population), size=(draws, len(population)))
        means.append(_mean(np.take_along_axis(drawn, picks, 1), 1))
        values.append(float(_mean(np.array([_value(m) for m in population]), 0)))
    return MeanScores(
        _interval(values[0], means[0]),
        _interval(values[1], means[1]),
        _interval(values[1] - values[0], means[1] - means[0]),
    )


def _value(measured: Measured) -> float:
    n = min(len(measured.top), len(measured.random))
    return float(correlation(measured.top[:n].sum(0) + measured.random[:n].sum(0)))


def _draws(measured: Measured, shared: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The feature's correlation in each draw [draw]."""
    n = min(len(measured.top), len(measured.random))
    own = rng.multinomial(n, np.full(n, 1 / max(1, n)), size=len(shared))
    return correlation(own @ measured.top[:n] + shared[:, :n] @ measured.random[:n])


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    defined = ~np.isnan(values)
    return np.asarray(np.where(defined, values, 0).sum(axis) / np.maximum(1, defined.sum(axis)))


def _interval(value: float, draws: NDArray[np.float64]) -> tuple[float, float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return value, float(low), float(high)
