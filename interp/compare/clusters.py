"""Intervals of ratios over examples that come in documents: documents are resampled, not examples."""

import numpy as np
from jaxtyping import Float, Int

from interp.statistics.estimate import Estimate


def ratio_interval(
    above: Float[np.ndarray, " example"],
    below: Float[np.ndarray, " example"],
    document: Int[np.ndarray, " example"],
    draws: int,
    seed: int,
) -> Estimate:
    """Sum of `above` over sum of `below`, and its 95% percentile interval over documents.

    With `below` all ones it is a mean. Draws in which `below` is zero are left out; NaN throughout without
    examples.
    """
    if len(document) == 0 or below.sum() == 0:
        return Estimate()
    _, cluster = np.unique(document, return_inverse=True)
    n = int(cluster.max()) + 1
    sums = np.stack([np.bincount(cluster, weights=part, minlength=n) for part in (above, below)])
    weight = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    drawn = sums @ weight.T
    ratio = drawn[0][drawn[1] > 0] / drawn[1][drawn[1] > 0]
    low, high = np.quantile(ratio, [0.025, 0.975])
    return Estimate(float(sums[0].sum() / sums[1].sum()), float(low), float(high))
