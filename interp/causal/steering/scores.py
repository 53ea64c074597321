"""Scores of a steered text from 0 to 2: concept, instruction, fluency, their harmonic mean; repetition."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

BEST = 2.0

Number = float | int


def between(
    value: Float[np.ndarray, "*text"], nothing: Number, everything: Number
) -> Float[np.ndarray, "*text"]:
    """2 (value - nothing) / (everything - nothing), kept within 0 and 2; NaN scores 0.

    `nothing` is the value that scores 0, `everything` the one that scores 2; either may be the larger. If
    they are equal, every score is NaN.
    """
    if everything == nothing:
        return np.full_like(value, np.nan)
    return np.nan_to_num(np.clip(BEST * (value - nothing) / (everything - nothing), 0.0, BEST))


def harmonic_mean(*scores: Float[np.ndarray, "*text"]) -> Float[np.ndarray, "*text"]:
    """The harmonic mean of each text's scores, 0 where one of them is 0 (AxBench, arXiv 2501.17148).

    NaN where a score is NaN.
    """
    stacked = np.stack(scores)
    with np.errstate(divide="ignore"):
        mean = len(scores) / (1 / stacked).sum(0)
    return np.where((stacked == 0).any(0), 0.0, mean)


def repeated(tokens: Sequence[int], n: int = 2) -> float:
    """The share of a text's n-grams that occurred earlier in it (1 - distinct-n); NaN without any."""
    grams = list(zip(*(tokens[start:] for start in range(n)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else float("nan")
