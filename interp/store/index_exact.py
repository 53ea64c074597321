"""Exact nearest neighbours: a scan in bfloat16, whose best rows are ranked again in float32."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

RERANKED = 4
"""How many times k rows of the scan are ranked again in float32."""
LEAST_RERANKED = 64


class ExactIndex:
    """Unit vectors, searched by a scan of all of them.

    The scan keeps the best `RERANKED` times k by bfloat16 products (rounding both vectors to 8 bits moves one
    by 2^-7 at most), which are then ordered by float32 products.
    """

    def __init__(self, vectors: Float[np.ndarray, "row width"]) -> None:
        self._vectors = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
        self._half = self._vectors.bfloat16()

    def search(
        self, query: Float[np.ndarray, " width"], k: int, allowed: Bool[np.ndarray, " row"] | None = None
    ) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
        """The allowed rows most similar to the query, best first, and their inner products with it."""
        wanted = torch.from_numpy(query.astype(np.float32))
        scan = self._half @ wanted.bfloat16()
        if allowed is not None:
            scan = scan.masked_fill(torch.from_numpy(~allowed), -torch.inf)
            k = min(k, int(allowed.sum()))
        k = min(k, len(self._vectors))
        several = min(max(RERANKED * k, LEAST_RERANKED), len(self._vectors))
        nearest = scan.topk(several).indices
        # in torch as well: numpy's threads would have to wait until torch's stop spinning
        products = (self._vectors[nearest] @ wanted).numpy()
        rows = nearest.numpy()
        if allowed is not None:
            rows, products = rows[allowed[rows]], products[allowed[rows]]
        order = np.lexsort((rows, -products))[:k]
        return rows[order].astype(np.int64), products[order]
