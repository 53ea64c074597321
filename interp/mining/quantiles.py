"""Token-level quantiles of every feature, each with the error of its rank."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from interp.mining.extremes import Extremes

LEVELS = (1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1 - 1e-4, 1 - 1e-5)


def quantiles(
    sampled: Float[Tensor, "token d"], extremes: Extremes, n_tokens: int, signed: bool
) -> tuple[Float[Tensor, "d level"], NDArray[np.float64]]:
    """Quantiles of the signed activation at `LEVELS`, and the half-width of each level's 95% interval.

    The p-quantile of n values is the ceil(p n)-th smallest. Where that is among the extremes it is exact
    (error 0; the lower end needs a signed space); elsewhere it is that of the S sampled tokens, whose share
    below it is p within 1.96 sqrt(p (1 - p) / S), the error given, in units of probability.
    """
    d = sampled.shape[1]
    ordered = sampled.float().sort(dim=0).values
    size, m = len(ordered), extremes.value.shape[1]
    result = torch.zeros(d, len(LEVELS))
    error = np.zeros(len(LEVELS))
    for column, level in enumerate(LEVELS):
        rank = max(1, int(np.ceil(level * n_tokens - 1e-9)))
        from_top = n_tokens - rank + 1
        if n_tokens and from_top <= m:
            result[:, column] = extremes.value[:d, from_top - 1]
        elif n_tokens and signed and rank <= m:
            result[:, column] = -extremes.value[d:, rank - 1]
        elif size:
            result[:, column] = ordered[max(0, int(np.ceil(level * size - 1e-9)) - 1)]
            if size < n_tokens:
                error[column] = 1.96 * np.sqrt(level * (1 - level) / size)
    return result, error
