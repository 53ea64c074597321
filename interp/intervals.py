"""A mean or a share with its interval."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import binomtest, bootstrap


def mean_interval(
    values: Float[np.ndarray, " n"], seed: int, draws: int = 2000
) -> tuple[float, float, float]:
    """The mean, and the ends of its 95% percentile bootstrap interval over the values (scipy's `bootstrap`).

    For a paired difference, give the differences. NaN throughout without values; with one value the interval
    is unknown (NaN), with equal values it is that value, which says nothing of the sampling error.
    """
    if len(values) == 0:
        return float("nan"), float("nan"), float("nan")
    mean = float(values.mean())
    if len(values) == 1:
        return mean, float("nan"), float("nan")
    if (values == values[0]).all():
        return mean, mean, mean
    found = bootstrap((values,), np.mean, n_resamples=draws, method="percentile", rng=seed, vectorized=True)
    return mean, float(found.confidence_interval.low), float(found.confidence_interval.high)


def share_interval(count: int, n: int) -> tuple[float, float, float]:
    """The share `count` / `n` and its 95% Wilson interval, which is not empty at 0 and 1; NaN for n = 0."""
    if n == 0:
        return float("nan"), float("nan"), float("nan")
    found = binomtest(count, n).proportion_ci(method="wilson")
    return count / n, float(found.low), float(found.high)


def by_item(
    values: Shaped[np.ndarray, " row"], items: Shaped[np.ndarray, " row"]
) -> Float[np.ndarray, " item"]:
    """The mean of each item's rows, such as a question's under several draws of a random control.

    Intervals are over items: rows of one item are alike, and as independent ones they would make them narrow.
    """
    _, place = np.unique(items, return_inverse=True)
    means: np.ndarray = np.bincount(place, values.astype(float)) / np.bincount(place)
    return means


def share_of_items(
    came_out: Shaped[np.ndarray, " row"], items: Shaped[np.ndarray, " row"], seed: int
) -> tuple[float, float, float]:
    """The share that came out, and its 95% interval over items, whose rows are averaged first (`by_item`).

    A Wilson interval where each item came out always or never, so that it is not empty at 0 and 1; else a
    bootstrap. NaN without items.
    """
    shares = by_item(came_out, items)
    if np.isin(shares, (0, 1)).all():
        return share_interval(int(shares.sum()), len(shares))
    return mean_interval(shares, seed)


def central(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """The ends of the central 95% of the values that are numbers; NaN without any."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def mean_and_central(values: Float[np.ndarray, " n"]) -> tuple[float, float, float]:
    """The mean of the values that are numbers, and the ends of their central 95%; NaN without any."""
    known = values[~np.isnan(values)]
    return (float(known.mean()) if len(known) else float("nan"), *central(known))


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
        drawn = rng.multinomial(size, np.full(size, 1 / size), size=draws) if size else np.zeros((draws, 0))
        stratum = drawn.astype(np.float64)
        stratum.flags.writeable = False
        counts.append(stratum)
    return tuple(counts)
