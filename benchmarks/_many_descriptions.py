"""A store with a made-up description, scores and a vector of each side of every neuron, and its figures."""

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from interp.errors import UserError
from interp.inspection.browse import AboveNull, Browse, Saying
from interp.monitor.knowledge import Knowledge
from interp.store.filters import InLayers, OfPolarity, ScoreBetween
from interp.store.index_annoy import build_annoy
from interp.store.index_exact import ExactIndex
from interp.store.index_hnsw import EFFORTS, HnswSearch, HnswTuning, make_hnsw
from interp.store.recall import held_out_queries, reached
from interp.store.rows import DescriptionRow, ExemplarRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.store import Store

from .search import clustered

SUBJECT, K, WIDTH = "made-up", 500, 384
WORDS = (
    "city", "rain", "verb", "digit", "past", "date", "storm", "name", "team", "river", "king", "bank",
    "horse", "music", "green", "small", "under", "over", "plural", "tense", "code", "loop", "error", "quote",
    "comma", "month", "year", "north", "angry", "legal", "medical", "sports", "food", "ocean", "metal",
)  # fmt: skip
LEVELS = ("1e-05", "0.0001", "0.001", "0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99", "0.999")
Made = TypeVar("Made")
Figures = dict[str, float]


class StandIn:
    """An embedder of queries alone, as descriptions have vectors already: a direction for each text."""

    name, width = "stand-in", WIDTH

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "text width"]:
        """Directions, of unit length."""
        drawn = [np.random.default_rng(list(one.encode())).standard_normal(WIDTH) for one in texts]
        found = np.array(drawn, dtype=np.float32).reshape(len(texts), WIDTH)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found


def timed(name: str, work: Callable[[], Made], figures: Figures, rounds: int = 1) -> Made:
    """Does the work some times; prints and keeps the least seconds, and processor seconds, of a round."""
    walls, processors = [], []
    for _ in range(rounds):
        began, spent = time.perf_counter(), time.process_time()
        made = work()
        walls.append(time.perf_counter() - began)
        processors.append(time.process_time() - spent)
    figures[name], figures[f"{name}, processor"] = min(walls), min(processors)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{name:36s} {min(walls):9.4f} s, processor {min(processors):9.4f} s, peak {peak:.2f} GiB", flush=True
    )
    return made


def rows(layer: int, neurons: int) -> Iterator[FeatureRow]:
    """Both sides of a layer's neurons: one description with three scores, windows of one in a hundred."""
    rng = np.random.default_rng(layer)
    for polarity in (1, -1):
        words = rng.integers(0, len(WORDS), (neurons, 10))
        quantiles = np.sort(rng.standard_normal((neurons, len(LEVELS))), 1)
        scores = rng.random((neurons, 3))
        for i in range(neurons):
            said = [WORDS[one] for one in words[i]]
            given = tuple(
                ScoreRow(kind, "known", "report", value, value - 0.1, value + 0.1, 0.0, -0.1, 0.1, 40)
                for kind, value in zip(
                    ("simulation", "detection", "fuzzing"), scores[i].tolist(), strict=True
                )
            )
            one = DescriptionRow(
                f"tokens about {' '.join(said)}", "patterns", 0, " ".join(said[:3]), True,
                bool(scores[i, 0] > 0.5), "", {"run": "r"}, given,
            )  # fmt: skip
            windows = (ExemplarRow("corpus", "explain", i + 7 * k, 3, 2.5 - k / 10, "top") for k in range(20))
            yield FeatureRow(
                f"mlp.{layer}", i, polarity, float(scores[i, 1]) / 100,
                dict(zip(LEVELS, quantiles[i].tolist(), strict=True)), (one,),
                tuple(windows) if i % 100 == 0 else (),
            )  # fmt: skip


def filled(where: str, layers: int, neurons: int, figures: Figures) -> None:
    """Imports everything into a new store."""

    def put() -> None:
        for layer in range(layers):
            store.put_space(SpaceRow(SUBJECT, f"mlp.{layer}", f"mlp_post.{layer}", layer, neurons, True))
            store.put(SUBJECT, rows(layer, neurons))

    vectors, _ = clustered(2 * layers * neurons, 1)
    with Store(where) as store:
        timed("import (and make) all rows", put, figures)
        ids = sorted(store.texts())
        timed("import vectors", lambda: store.put_vectors(StandIn.name, ids, vectors), figures)


def asked(where: str, figures: Figures) -> None:
    """What the app asks of a store: the page Features, opened, searched, filtered, sorted and turned."""
    with Store(where) as store:
        knowledge = Knowledge(SUBJECT, [store])
        knowledge.embedder = StandIn()
        browse = Browse(knowledge)
        half = len(timed("open the page Features", lambda: browse.frame, figures)) // 2
        five = (
            InLayers(0, 20) & OfPolarity(1) & ScoreBetween("simulation", 0.2, 0.9)
            & Saying(browse, "river") & AboveNull()
        )  # fmt: skip
        once = iter(range(10**6))
        ways: dict[str, Callable[[], Any]] = {
            "a page in the middle": lambda: browse.find(offset=half),
            "new words": lambda: browse.find(words=f"{WORDS[next(once) % 20]} bank"),
            "five conditions and a sort": lambda: browse.find(five, sort="rate", down=True),
            "a page in the middle of a sort": lambda: browse.find(sort="score", down=True, offset=half),
        }
        timed("a new sort", lambda: browse.find(sort="score", down=True), figures)
        for name, work in ways.items():
            timed(name, work, figures, 5)
        timed(
            "first search by meaning", lambda: browse.find(words="rain in the north", by="meaning"), figures
        )
        timed("by meaning", lambda: browse.find(words="rain in the north", by="meaning"), figures, 7)
        timed("by meaning, with conditions", lambda: browse.find(five, "a king", by="meaning"), figures, 7)
        timed("one feature", lambda: store.feature(SUBJECT, "mlp.0/7-"), figures, 5)


def nearest(where: str, figures: Figures) -> None:
    """The 500 nearest by the exact index, and in PostgreSQL by pgvector's graph at several efforts."""
    with Store(where) as store:
        ids, vectors = timed("read all vectors", lambda: store.vectors(StandIn.name), figures)
        exact, k = ExactIndex(vectors), min(K, len(ids))
        queries, _ = held_out_queries(vectors)
        timed("numpy, float32, all products", lambda: vectors @ queries[0], figures, 7)
        timed("exact index", lambda: exact.search(queries[0], k), figures, 7)
        if store.engine.dialect.name != "postgresql":
            return
        truths = [set(exact.search(query, k)[0].tolist()) for query in queries]
        timed("build HNSW", lambda: make_hnsw(store.engine, StandIn.name, WIDTH, len(ids)), figures)
        for ef in EFFORTS:
            tuning = HnswTuning(len(ids), ef, k, 0.0, 0.0, 0.0, 0)
            graph = HnswSearch(store.engine, StandIn.name, WIDTH, ids, tuning)
            timed(f"HNSW, ef_search {ef}", partial(graph.search, queries[0], k), figures, 7)
            found = reached(partial(_rows, graph, k), queries, truths, k)
            figures[f"HNSW, ef_search {ef}, recall"] = found
            print(f"    recall@{k} {found:.3f}", flush=True)


def _rows(graph: HnswSearch, k: int, query: Float[np.ndarray, " width"]) -> Int[np.ndarray, " found"]:
    return graph.search(query, k)[0]


def annoy(folder: Path, n: int, recall: float, figures: Figures) -> None:
    """Builds and tunes annoy within ten minutes, or prints why not."""
    vectors, _ = clustered(n, 1)
    try:
        tuning = timed("annoy", lambda: build_annoy(vectors, folder / "all.ann", recall), figures).tuning
        figures["annoy, recall"] = tuning.recall
        print(
            f"    {tuning.trees} trees, search_k {tuning.search_k:,}, recall {tuning.recall:.3f}", flush=True
        )
    except UserError as refusal:
        print(refusal, flush=True)
