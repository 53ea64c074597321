"""Estimates: a mean or a share with its interval."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.stats import binomtest, bootstrap

Number = float | int  # beartype does not take an int for a float


class Estimate(NamedTuple):
    """A number with its interval.

    `value` is NaN where the quantity is not defined (such as the correlation with a constant); `low` and
    `high` are the ends of its 95% interval, or of its range when it is a null; NaN where they are unknown.
    """

    value: Number = math.nan
    low: Number = math.nan
    high: Number = math.nan

    @classmethod
    def metric(cls, metrics: Mapping[str, Any], name: str) -> "Estimate":
        """A run's metric with its `_low` and `_high`; NaN where the run did not record it."""
        found = (metrics.get(name + end) for end in ("", "_low", "_high"))
        return cls(*(math.nan if value is None else float(value) for value in found))

    @classmethod
    def of(cls, row: Mapping[Any, Any], name: str) -> "Estimate":
        """The columns `name`, `name_low` and `name_high` of a table's row; None there is NaN."""
        ends = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
        return cls(*(math.nan if end is None else end for end in ends))

    def named(self, name: str) -> dict[str, Number]:
        """The same as columns: `name`, `name_low`, `name_high`."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    @property
    def point(self) -> Number | None:
        """The value, or None where it is not defined or not finite."""
        return self.value if math.isfinite(self.value) else None

    @property
    def ends(self) -> tuple[Number, Number] | None:
        """The ends of the interval, or None where one of them is unknown or not finite."""
        return (self.low, self.high) if math.isfinite(self.high - self.low) else None

    @property
    def reach(self) -> list[Number]:
        """The value and the ends of the interval, as far as they are known, which an axis must reach."""
        return [*([] if self.point is None else [self.point]), *(self.ends or ())]


def mean_interval(values: Float[np.ndarray, " n"], seed: int, draws: int = 2000) -> Estimate:
    """The mean, and the ends of its 95% percentile bootstrap interval over the values (scipy's `bootstrap`).

    For a paired difference, give the differences. NaN throughout without values; with one value the interval
    is unknown (NaN), with equal values it is that value, which says nothing of the sampling error.
    """
    if len(values) == 0:
        return Estimate()
    mean = float(values.mean())
    if len(values) == 1:
        return Estimate(mean)
    if (values == values[0]).all():
        return Estimate(mean, mean, mean)
    found = bootstrap((values,), np.mean, n_resamples=draws, method="percentile", rng=seed, vectorized=True)
    return Estimate(mean, float(found.confidence_interval.low), float(found.confidence_interval.high))


def share_interval(count: int, n: int) -> Estimate:
    """The share `count` / `n` and its 95% Wilson interval, which is not empty at 0 and 1; NaN for n = 0."""
    if n == 0:
        return Estimate()
    found = binomtest(count, n).proportion_ci(method="wilson")
    return Estimate(count / n, float(found.low), float(found.high))


def by_item(
    values: Shaped[np.ndarray, " row"], items: Shaped[np.ndarray, " row"]
) -> Float[np.ndarray, " item"]:
    """The mean of each item's rows, such as a question's under several draws of a random control.

    Intervals are over items: the rows of one item are alike, and counting them as independent would make
    intervals too narrow.
    """
    _, place = np.unique(items, return_inverse=True)
    means: np.ndarray = np.bincount(place, values.astype(float)) / np.bincount(place)
    return means


def share_of_items(
    came_out: Shaped[np.ndarray, " row"], items: Shaped[np.ndarray, " row"], seed: int
) -> Estimate:
    """The share of true rows, and its 95% interval over items, whose rows are averaged first (`by_item`).

    The interval is Wilson's if every item's rows are all true or all false, so that it is not empty at 0 and
    1; else a bootstrap. NaN without items.
    """
    shares = by_item(came_out, items)
    if np.isin(shares, (0, 1)).all():
        return share_interval(int(shares.sum()), len(shares))
    return mean_interval(shares, seed)


def central(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """The ends of the central 95% of the values that are numbers; NaN without any."""
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def mean_and_central(values: Float[np.ndarray, " n"]) -> Estimate:
    """The mean of the values that are numbers, and the ends of their central 95%; NaN without any."""
    known = values[~np.isnan(values)]
    return Estimate(float(known.mean()) if len(known) else math.nan, *central(known))


def resamples(n: int, draws: int, rng: np.random.Generator) -> Int[np.ndarray, "draw n"]:
    """How often each of `n` items is in each bootstrap draw, with replacement."""
    return rng.multinomial(n, np.full(n, 1 / n), size=draws) if n else np.zeros((draws, 0), dtype=np.int64)


def ratio_interval(
    above: Float[np.ndarray, " example"],
    below: Float[np.ndarray, " example"],
    document: Int[np.ndarray, " example"],
    draws: int,
    seed: int,
) -> Estimate:
    """Sum of `above` over sum of `below`, and its 95% percentile interval over documents, not examples.

    With `below` all ones it is a mean. Draws in which `below` is zero are left out; NaN throughout without
    examples.
    """
    if len(document) == 0 or below.sum() == 0:
        return Estimate()
    _, cluster = np.unique(document, return_inverse=True)
    n = int(cluster.max()) + 1
    sums = np.stack([np.bincount(cluster, weights=part, minlength=n) for part in (above, below)])
    drawn = sums @ resamples(n, draws, np.random.default_rng(seed)).T
    ratio = drawn[0][drawn[1] > 0] / drawn[1][drawn[1] > 0]
    return Estimate(float(sums[0].sum() / sums[1].sum()), *central(ratio))


@lru_cache(maxsize=64)
def bootstrap_counts(
    seed: int, sizes: tuple[int, ...], draws: int
) -> tuple[Float[np.ndarray, "draw _"], ...]:
    """How often each item is drawn, for strata of these sizes that are resampled apart.

    Equal arguments give the same, read-only arrays, which scores on strata of equal sizes share.
    """
    rng = np.random.default_rng(seed)
    counts = []
    for size in sizes:
        stratum = resamples(size, draws, rng).astype(np.float64)
        stratum.flags.writeable = False
        counts.append(stratum)
    return tuple(counts)
