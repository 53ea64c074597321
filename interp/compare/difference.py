"""Compares the mean description scores of populations by a paired bootstrap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from interp.descriptions.score import Measured, correlation
from interp.render.digits import with_interval
from interp.statistics.estimate import Estimate, central, resamples


@dataclass(frozen=True)
class MeanScores:
    """Mean scores of two populations and their difference (second minus first)."""

    first: Estimate
    second: Estimate
    difference: Estimate

    def __repr__(self) -> str:
        return f"MeanScores({_said(first=self.first, second=self.second, difference=self.difference)})"


@dataclass(frozen=True)
class PopulationScores:
    """Mean scores by population, and for every pair (first, second) the second's minus the first's."""

    mean: Mapping[str, Estimate]
    difference: Mapping[tuple[str, str], Estimate]

    def __repr__(self) -> str:
        return f"PopulationScores({_said(**self.mean)})"

    def _repr_html_(self) -> str:
        rows = [(name, with_interval(mean)) for name, mean in self.mean.items()]
        rows += [
            (f"{second} minus {first}", with_interval(gap, sign=True))
            for (first, second), gap in self.difference.items()
        ]
        frame = pd.DataFrame(rows, columns=["population", "mean score (95% interval)"])
        return str(frame.to_html(escape=True, index=False))


def compare_populations(
    populations: Mapping[str, Sequence[Measured]], draws: int = 1000, seed: int = 0
) -> PopulationScores:
    """Computes mean correlations, on top and random windows together, and all pairs' differences.

    The interval is a paired bootstrap (Koehn 2004): each draw resamples the random windows once for all
    features of all populations, since they were scored on the same text, and within each population the
    features and their own top windows. Features whose score is undefined in a draw are left out of it.
    As many random as top windows count for each feature, the first of either, as in `SimulationScore.both`.
    """
    rng = np.random.default_rng(seed)
    shared = _shared([m for population in populations.values() for m in population], draws, rng)
    values, means = {}, {}
    for name, population in populations.items():
        drawn = np.stack([_draws(m, shared, rng) for m in population], 1)
        picks = rng.integers(len(population), size=(draws, len(population)))
        means[name] = _mean(np.take_along_axis(drawn, picks, 1), 1)
        values[name] = float(_mean(np.array([_value(m) for m in population]), 0))
    return PopulationScores(
        {name: Estimate(values[name], *central(means[name])) for name in populations},
        {
            (one, two): Estimate(values[two] - values[one], *central(means[two] - means[one]))
            for one, two in combinations(populations, 2)
        },
    )


def compare_scores(
    first: Sequence[Measured], second: Sequence[Measured], draws: int = 1000, seed: int = 0
) -> MeanScores:
    """`compare_populations` of two."""
    found = compare_populations({"first": first, "second": second}, draws, seed)
    return MeanScores(found.mean["first"], found.mean["second"], found.difference["first", "second"])


@dataclass(frozen=True)
class PairedScores:
    """Scores of matched pairs: the mean difference (second minus first), and how many pairs it is over.

    `undefined` pairs, in which a side has no score, are left out. `second_ahead` counts pairs in which the
    second scores higher.
    """

    difference: Estimate
    n_pairs: int
    undefined: int
    second_ahead: int

    def __repr__(self) -> str:
        ahead = f"second ahead in {self.second_ahead} of {self.n_pairs} pairs"
        return f"PairedScores(difference {with_interval(self.difference, sign=True)}, {ahead})"


def compare_pairs(
    first: Sequence[Measured], second: Sequence[Measured], draws: int = 1000, seed: int = 0
) -> PairedScores:
    """Computes the mean difference of scores within pairs (`first[i]`, `second[i]`).

    The interval is a bootstrap over pairs, in which both sides of a pair stay together; each draw resamples
    the random windows once for all features, and each feature's own top windows. Pairs without a difference
    in a draw are left out of it; all is NaN if no pair has one.
    """
    gaps = np.array([_value(two) - _value(one) for one, two in zip(first, second, strict=True)])
    kept = np.flatnonzero(~np.isnan(gaps)).tolist()
    if not kept:
        return PairedScores(Estimate(), 0, len(gaps), 0)
    rng = np.random.default_rng(seed)
    shared = _shared([*first, *second], draws, rng)
    drawn = np.stack([_draws(second[i], shared, rng) - _draws(first[i], shared, rng) for i in kept], 1)
    picks = rng.integers(len(kept), size=(draws, len(kept)))
    means = _mean(np.take_along_axis(drawn, picks, 1), 1)
    found = gaps[kept]
    return PairedScores(
        Estimate(float(found.mean()), *central(means)),
        len(kept),
        len(gaps) - len(kept),
        int((found > 0).sum()),
    )


def _said(**estimates: Estimate) -> str:
    return ", ".join(f"{name} {with_interval(estimate)}" for name, estimate in estimates.items())


def _shared(measured: Sequence[Measured], draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draws how often each random window is in each resample [draw, window]."""
    n_random = max((min(len(m.top), len(m.random)) for m in measured), default=0)
    return resamples(n_random, draws, rng)


def _value(measured: Measured) -> float:
    n = min(len(measured.top), len(measured.random))
    return float(correlation(measured.top[:n].sum(0) + measured.random[:n].sum(0)))


def _draws(measured: Measured, shared: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Returns the feature's correlation in each draw [draw]."""
    n = min(len(measured.top), len(measured.random))
    own = resamples(n, len(shared), rng)
    return correlation(own @ measured.top[:n] + shared[:, :n] @ measured.random[:n])


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Returns the mean of the values that are defined; NaN where none is."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0).sum(axis) / defined.sum(axis))
