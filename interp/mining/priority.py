"""Hash priorities: a uniform sample of a stream that does not depend on the stream's order.

Keeping the items with the smallest hash is a uniform sample without replacement, and the sample of two
parts together is made from the samples of the parts (Cohen & Kaplan 2007, "bottom-k sketches").
"""

import numpy as np
from numpy.typing import NDArray

RANGE = 1 << 63
"""Priorities are uniform on the integers from 0 to this."""
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = np.uint64(0x9E3779B97F4A7C15)


def priority(hashes: NDArray[np.int64], positions: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
    """Computes non-negative 63-bit hashes of (document hash, position) by the finaliser of splitmix64."""
    with np.errstate(over="ignore"):
        z = hashes.astype(np.uint64) + _STEP * (
            positions.astype(np.uint64) + np.uint64(salt << 32) + np.uint64(1)
        )
        for multiplier, shift in zip(_MIX, (30, 27), strict=True):
            z = (z ^ (z >> np.uint64(shift))) * multiplier
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(1)).astype(np.int64)
