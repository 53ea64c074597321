"""How far importance weights can be relied on: effective sample sizes, and what few of them carry."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

Number = float | int
TOP = 0.01
"""The share of the draws that `Weights.top` is about."""


@dataclass(frozen=True)
class Weights:
    """Measures of importance weights.

    `mean` should be near 1. `effective` is Kish's effective sample size (sum w)^2 / sum w^2 over all draws,
    `effective_shown` the same over those that show the behaviour, which the estimate rests on. `largest` is
    the largest weight of all, `largest_shown` that of those. `top` is the share of the estimate that its
    largest hundredth of all draws (at least one) carries: near 1, it hangs on a few. NaN where there is none.
    """

    mean: Number
    effective: Number
    effective_shown: Number
    largest: Number
    largest_shown: Number
    top: Number

    @classmethod
    def of(cls, weights: Float[np.ndarray, " n"], shown: Bool[np.ndarray, " n"]) -> "Weights":
        """Measures the weights of draws."""
        own = weights[shown]
        count = max(1, round(TOP * len(weights)))
        return cls(
            mean=float(weights.mean()) if len(weights) else float("nan"),
            effective=effective_size(weights),
            effective_shown=effective_size(own),
            largest=float(weights.max(initial=0)),
            largest_shown=float(own.max(initial=0)),
            top=float(np.sort(own)[-count:].sum() / own.sum()) if own.sum() else float("nan"),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def effective_size(weights: Float[np.ndarray, " n"]) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2: of equal weights their number; 0 without any."""
    if not weights.any():
        return 0.0
    relative = weights / weights.max()
    return float(relative.sum() ** 2 / (relative**2).sum())
