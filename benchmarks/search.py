"""`interp bench search`: finding the nearest of 458,752 descriptions, as many as an 8B model has neurons.

Compared in one process on clustered unit vectors of 384 numbers: a full scan in float32 by numpy, whose
result is the truth, with the exact index and then with the annoy index, built and tuned to a recall of 0.95
at 500. They run one after the other, as numpy's threads spin for a while after a product and would slow
torch's. A cluster holds about 230 vectors, so that half of the 500 nearest are outside it, which is harder
for an approximate index than descriptions are.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from interp.store.index_annoy import build_annoy
from interp.store.index_exact import ExactIndex
from interp.store.search import Index

VECTORS, WIDTH, CLUSTERS, K, QUERIES, RECALL = 458_752, 384, 2000, 500, 60, 0.95

Search = Callable[[Float[np.ndarray, " width"]], Int[np.ndarray, " found"]]


def main(vectors: int = VECTORS) -> dict[str, dict[str, float]]:
    """Prints and returns milliseconds a query (median and 95th percentile) and recall of each way."""
    rows, queries = clustered(vectors, QUERIES)
    print(
        f"{len(rows):,} x {WIDTH} vectors, {QUERIES} queries, k {K}, {torch.get_num_threads()} threads",
        flush=True,
    )
    results = compared(
        {"numpy float32": partial(full_scan, rows), "exact": nearest(ExactIndex(rows))}, queries
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        annoy = build_annoy(rows, Path(folder) / "bench.ann", RECALL, K)
        tuned = annoy.tuning
        print(
            f"annoy built and tuned in {time.perf_counter() - began:.0f} s: {tuned.trees} trees, search_k "
            f"{tuned.search_k:,}, recall {tuned.recall:.3f} on queries that the choice was not made on",
            flush=True,
        )
        again = compared({"numpy float32": partial(full_scan, rows), "annoy": nearest(annoy)}, queries)
    return results | {"annoy": again["annoy"]}


def nearest(index: Index) -> Search:
    """A search by an index, which returns rows only."""
    return lambda query: index.search(query, K)[0]


def compared(
    ways: dict[str, Search], queries: Float[np.ndarray, "query width"]
) -> dict[str, dict[str, float]]:
    """Times each way, and measures its recall against the first."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[set[int]]] = {name: [] for name in ways}
    for name, search in ways.items():
        for query in queries:
            began = time.perf_counter()
            rows = search(query)
            taken[name].append(1000 * (time.perf_counter() - began))
            found[name].append(set(rows.tolist()))
    truths = next(iter(found.values()))
    recalls = {
        name: [len(true & mine) / len(true) for true, mine in zip(truths, found[name], strict=True)]
        for name in ways
    }
    results = {}
    for name in ways:
        median, late = statistics.median(taken[name]), float(np.quantile(taken[name], 0.95))
        recall, least = statistics.mean(recalls[name]), min(recalls[name])
        results[name] = {"median ms": median, "95 % ms": late, "recall": recall, "least recall": least}
        print(
            f"{name:14s} {median:6.1f} ms a query (95 % within {late:.1f}), "
            f"recall@{K} {recall:.4f} (least {least:.4f})",
            flush=True,
        )
    return results


def full_scan(
    rows: Float[np.ndarray, "row width"], query: Float[np.ndarray, " width"]
) -> Int[np.ndarray, " found"]:
    """The nearest rows by all inner products in float32."""
    products = rows @ query
    best = np.argpartition(-products, K)[:K]
    found: Int[np.ndarray, " found"] = best[np.argsort(-products[best])]
    return found


def clustered(
    n: int, n_queries: int, seed: int = 0
) -> tuple[Float[np.ndarray, "row width"], Float[np.ndarray, "query width"]]:
    """Unit vectors around random centres (noise as long as a centre), and queries drawn in the same way."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CLUSTERS, WIDTH), dtype=np.float32)
    drawn = centres[rng.integers(0, CLUSTERS, n + n_queries)]
    drawn += rng.standard_normal(drawn.shape, dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn[:n], drawn[n:]


if __name__ == "__main__":
    main()
