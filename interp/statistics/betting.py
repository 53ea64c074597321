"""Confidence bounds on the mean of non-negative numbers, by betting: valid for any distribution and size."""

import math

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import expit

from interp.errors import UserError

Number = float | int
STAKES: Float[np.ndarray, " stake"] = np.linspace(-12.0, 5.0, 52)
"""Logits of the shares of the wealth that are bet, 6e-6 to 0.993."""
PRECISION = 1e-6
"""Of a bound, relative."""


def lower_bound(values: Float[np.ndarray, " n"], confidence: Number = 0.95) -> float:
    """A number that the mean of the distribution exceeds, with at least this probability.

    `values` are not negative and drawn one after another, each with the same mean whatever came before, or
    at most that; how large they may be need not be known. Whoever bets the share f of a wealth on each value
    against the mean m has after n of them prod_i (1 - f + f x_i / m) of what there was. If the mean is m, or
    less, that is a supermartingale for any fixed f, and so is the average over several f (Waudby-Smith &
    Ramdas 2024, Estimating means of bounded random variables by betting, JRSS-B 86(1), section 4, with
    lambda = f / m); it ever reaches 1 / (1 - confidence) with probability of at most 1 - confidence (Ville).
    The bound is the smallest m at which it has not. So it holds when one stops, also if the values themselves
    said when, and it scales with the values: a mean of 1e-5 is known as well as one of 0.1 if the values vary
    as much, relative to it.

    It is below the mean of the values, and 0 without values and if all are 0.

    Raises:
        UserError: a value is negative or not finite, or the confidence is not above 0 and below 1.
    """
    _check(values, confidence)
    if not values.any():
        return 0.0
    largest = float(values.max())
    # most values may be 0, and each of those loses the same
    found, counts = np.unique(values / largest, return_counts=True)
    wanted = math.log(1 / (1 - confidence)) + math.log(len(STAKES))
    kept, staked = expit(-STAKES), expit(STAKES)

    def excess(log_mean: float) -> float:
        """How far the log of the wealth is above what is wanted, against exp(log_mean)."""
        won = counts @ np.log(kept + staked * (found * math.exp(-log_mean))[:, None])
        return float(np.logaddexp.reduce(won)) - wanted

    # against a mean as large as the largest value no bet is ever won
    high, low = 0.0, -1.0
    while excess(low) < 0:
        high, low = low, 2 * low
    return largest * math.exp(brentq(excess, low, high, xtol=PRECISION) - PRECISION)


def upper_bound(values: Float[np.ndarray, " n"], largest: Number, confidence: Number = 0.95) -> float:
    """A number that the mean of the distribution is below, with at least this probability.

    `values` as in `lower_bound`, and none can be above `largest`: it is `largest` less the lower bound of
    what each value is short of it.

    Raises:
        UserError: as `lower_bound`, or a value is above `largest`.
    """
    if len(values) and float(values.max()) > largest * (1 + PRECISION):
        raise UserError(
            f"a value of {float(values.max()):g} is above the largest possible, {largest:g}",
            "upper_bound",
            "give the largest that a value can be",
        )
    return largest * (1 - lower_bound(np.maximum(1 - values / largest, 0.0), confidence))


def _check(values: Float[np.ndarray, " n"], confidence: Number) -> None:
    if not 0 < confidence < 1:
        raise UserError(f"{confidence:g} is no confidence", "confidence", "give a share such as 0.95")
    if not (np.isfinite(values) & (values >= 0)).all():
        raise UserError(
            "a value is negative or not finite", "values", "the bound is for numbers of at least 0"
        )
