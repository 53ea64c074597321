"""Maps values from the tokens of one tokenizer to those of another, by the characters that they cover."""

import numpy as np
from jaxtyping import Float, Int


def project(
    values: Float[np.ndarray, " source"],
    ends: Int[np.ndarray, " source"],
    onto: Int[np.ndarray, " target"],
) -> Float[np.ndarray, " target"]:
    """Returns the largest value among the source tokens that share a character with each target token.

    `ends` and `onto` are the offsets, in characters of the same text, at which tokens end. The largest, and
    not the mean: a feature that fires where a word is complete fires on one piece of it. A token of no
    character, on either side, is a part of the one which the tokens after it complete, and shares that.
    Where the source has no token, the value is 0.
    """
    starts = np.concatenate([[0], ends])[:-1].astype(np.int64)
    left = np.concatenate([[0], onto])[:-1].astype(np.int64)
    right = np.maximum(onto, left + 1)
    first = np.searchsorted(np.maximum(ends, starts + 1), left, side="right")
    past = np.searchsorted(starts, right, side="left")
    found = np.zeros(len(onto))
    covered = past > first
    # pairs (first, past): every second stretch that reduceat gives is one of a target token
    pairs = np.stack([first[covered], past[covered]], axis=1).ravel()
    padded = np.append(values.astype(np.float64), -np.inf)
    found[covered] = np.maximum.reduceat(padded, pairs)[::2] if len(pairs) else []
    return found
