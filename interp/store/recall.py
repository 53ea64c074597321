"""How much of the nearest an approximate index finds, on queries that nothing was chosen on."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

QUERIES = 40
SEED = 7
Queries = Float[np.ndarray, "query width"]


def held_out_queries(
    vectors: Float[np.ndarray, "row width"], seed: int = SEED
) -> tuple[Float[np.ndarray, "choosing width"], Float[np.ndarray, "checking width"]]:
    """Rows with noise of half their length, normalised: half to choose by, half to check."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(vectors), size=min(2 * QUERIES, len(vectors)), replace=False)
    noise = rng.normal(size=(len(rows), vectors.shape[1])) * 0.5 / np.sqrt(vectors.shape[1])
    near = vectors[rows] + noise
    unit = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    return unit[::2], unit[1::2] if len(unit) > 1 else unit


def reached(
    search: Callable[[Float[np.ndarray, " width"]], Int[np.ndarray, " found"] | Sequence[int]],
    queries: Queries,
    truths: Sequence[set[int]],
    k: int,
) -> float:
    """The mean share of the true `k` nearest that a search finds."""
    found = [set(np.asarray(search(query)).tolist()) for query in queries]
    return float(np.mean([len(true & one) for true, one in zip(truths, found, strict=True)])) / k
