"""Exact nearest neighbours: a scan in half precision, whose best rows are ranked again in float32."""

import time

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

RERANKED = 4
"""How many times k rows of the scan are ranked again in float32."""
LEAST_RERANKED = 64
_TRIED = 16_384


class ExactIndex:
    """Unit vectors, searched by a scan of all of them.

    The scan keeps the best `RERANKED` times k by products in half precision (float16, or bfloat16 where this
    machine is quicker at it: rounding both vectors to 8 bits moves a product by 2^-7 at most), which are then
    ordered by float32 products.
    """

    def __init__(self, vectors: Float[np.ndarray, "row width"]) -> None:
        self._vectors = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
        self._half = self._vectors.to(_quickest(self._vectors[:_TRIED]))

    def search(
        self, query: Float[np.ndarray, " width"], k: int, allowed: Bool[np.ndarray, " row"] | None = None
    ) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
        """The allowed rows most similar to the query, best first, and their inner products with it."""
        wanted = torch.from_numpy(query.astype(np.float32))
        unit = torch.nn.functional.normalize(wanted, dim=0).to(self._half.dtype)
        scan = (self._half @ unit).float()  # whose largest are found several times as fast
        if allowed is not None:
            scan.masked_fill_(torch.from_numpy(~allowed), -torch.inf)
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


def _quickest(vectors: Float[Tensor, "row width"]) -> torch.dtype:
    """The half precision in which this machine multiplies these with a vector sooner; float16 if few."""
    if len(vectors) < _TRIED:
        return torch.float16
    taken: dict[torch.dtype, float] = {}
    for kind in (torch.float16, torch.bfloat16):
        rows = vectors.to(kind)
        for _ in range(5):
            began = time.perf_counter()
            _ = rows @ rows[0]
            taken[kind] = min(time.perf_counter() - began, taken.get(kind, np.inf))
    return min(taken, key=taken.__getitem__)
