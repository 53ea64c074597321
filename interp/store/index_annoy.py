"""Approximate nearest neighbours in a file that processes can share: annoy, tuned to a given recall."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from annoy import AnnoyIndex
from jaxtyping import Bool, Float, Int
from pydantic import TypeAdapter

from interp.errors import UserError
from interp.json_text import read_json
from interp.outside import MEBIBYTE, open_file
from interp.store.index_exact import ExactIndex
from interp.store.recall import SEED, Queries, held_out_queries, reached
from interp.track.files import atomic, write_json

TREES = (10, 50, 200)
SECONDS = 600.0
"""What building and tuning may take."""
PARALLEL_FROM = 100_000
_AGAIN = "delete it; it is built again"


@dataclass(frozen=True)
class IndexBuild:
    """How an index was built and what it reaches.

    `recall` is the share of the true `k` nearest that are found, averaged over `queries` held-out queries;
    `chosen_on` is the same on the queries that the settings were chosen on. `digest` is the SHA-256 of the
    index file, which annoy itself does not check.
    """

    n: int
    width: int
    trees: int
    search_k: int
    k: int
    wanted: float
    recall: float
    chosen_on: float
    queries: int
    digest: str


class AnnoySearch:
    """An index on disk, mapped into memory.

    Raises:
        UserError: the files are missing, damaged or do not fit together.
    """

    def __init__(self, file: Path) -> None:
        try:
            self.tuning = TypeAdapter(IndexBuild).validate_python(read_json(_notes(file), _AGAIN))
            if _digest(file) != self.tuning.digest:
                raise ValueError("it is not the one that was built")
            self._index = AnnoyIndex(self.tuning.width, "dot")
            self._index.load(str(file))
        except (OSError, ValueError) as error:
            raise UserError(f"the search index cannot be read ({error})", str(file), _AGAIN) from error

    def search(
        self, query: Float[np.ndarray, " width"], k: int, allowed: Bool[np.ndarray, " row"] | None = None
    ) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
        """Approximately the rows most similar to the query, best first, and their inner products with it.

        The smaller the share of allowed rows, the more candidates are looked at; some may still be missed.
        """
        share = 1.0 if allowed is None else max(float(allowed.mean()), 1e-6)
        more = min(int(k / share) + 1, self.tuning.n)
        effort = max(self.tuning.search_k, int(self.tuning.search_k * more / max(self.tuning.k, 1)))
        rows, products = self._index.get_nns_by_vector(query.tolist(), more, effort, include_distances=True)
        found, likeness = np.array(rows, dtype=np.int64), np.array(products, dtype=np.float32)
        if allowed is not None:
            kept = allowed[found] if len(found) else np.zeros(0, dtype=np.bool_)
            found, likeness = found[kept], likeness[kept]
        return found[:k], likeness[:k]


def build_annoy(
    vectors: Float[np.ndarray, "row width"],
    file: Path,
    recall: float,
    k: int = 500,
    seed: int = SEED,
    seconds: float = SECONDS,
) -> AnnoySearch:
    """Build the index with the fewest trees and the least search effort that reach `recall` at `k`.

    The choice is made on queries (rows with noise) and checked on others, and both recalls are recorded. If
    the most trees with a full search do not reach `recall`, they are kept with what they reach. From
    `PARALLEL_FROM` vectors on all processors build, which leaves the trees in the order they finished.

    Raises:
        UserError: `seconds` would not be enough; says what was reached, beside a scan of all.
    """
    k, began = min(k, len(vectors)), perf_counter()
    choosing, checking = held_out_queries(vectors, seed)
    exact = ExactIndex(vectors)
    truths = [[set(exact.search(query, k)[0].tolist()) for query in part] for part in (choosing, checking)]
    scan = (perf_counter() - began) / (len(choosing) + len(checking))
    best = _Tried(0, 0, 0.0, 0.0)

    def check_time(next_one: str, needs: float) -> None:
        spent = perf_counter() - began
        if spent + needs > seconds:
            tried = (
                f"{best.trees} trees with search_k {best.effort:,} find {best.recall:.2f} of the {k} nearest"
                f", not {recall:g}, in {1000 * best.seconds:.0f} ms a query, a scan all of them in "
                f"{1000 * scan:.0f} ms; "
            )
            raise UserError(
                f"an annoy index of {len(vectors):,} vectors is not built and tuned in {seconds:.0f} s: "
                f"after {spent:.0f} s, {tried if best.trees else ''}{next_one} would take {needs:.0f} s more",
                str(file),
                "use index exact, or ask for a lower recall",
            )

    adding = building = 0.0
    for trees in TREES:
        check_time(f"{trees} trees", adding + building * trees)
        index, adding, building = _built(vectors, trees, seed)
        effort, chosen_on, needs = k * trees, 0.0, 0.0
        while True:
            check_time(f"search_k {effort:,}", needs)
            started = perf_counter()
            chosen_on = _reached(index, choosing, truths[0], k, effort)
            taken = perf_counter() - started
            best = max(
                best, _Tried(trees, effort, chosen_on, taken / len(choosing)), key=lambda one: one.recall
            )
            if chosen_on >= recall or effort >= len(vectors):
                break
            effort, needs = min(2 * effort, len(vectors)), 2 * taken
        if (
            effort <= len(vectors) // 4
            or trees == TREES[-1]
            or (chosen_on >= recall and effort < len(vectors))
        ):
            break
    recalled = _reached(index, checking, truths[1], k, effort)
    with atomic(file) as temporary:
        index.save(str(temporary))
        tuning = IndexBuild(
            len(vectors), vectors.shape[1], trees, effort, k, recall, recalled, chosen_on, len(checking),
            _digest(temporary),
        )  # fmt: skip
        write_json(_notes(file), asdict(tuning))  # before the index appears, so that it is never without them
    return AnnoySearch(file)


class _Tried(NamedTuple):
    """Settings, the recall that they reach, and the seconds of a query."""

    trees: int
    effort: int
    recall: float
    seconds: float


def read_annoy(file: Path) -> AnnoySearch | None:
    """Opens the index in a file; None if it is missing or damaged and has to be built again."""
    try:
        return AnnoySearch(file) if file.exists() or _notes(file).exists() else None
    except UserError:
        return None


def _built(vectors: Float[np.ndarray, "row width"], trees: int, seed: int) -> tuple[AnnoyIndex, float, float]:
    """The index, the seconds that adding the vectors took, and those of each tree."""
    index, began = AnnoyIndex(vectors.shape[1], "dot"), perf_counter()
    index.set_seed(seed)
    for row, vector in enumerate(vectors):
        index.add_item(row, vector.tolist())  # of numpy's own numbers it takes twice as long
    added = perf_counter()
    index.build(trees, n_jobs=1 if len(vectors) < PARALLEL_FROM else -1)
    return index, added - began, (perf_counter() - added) / trees


def _reached(index: AnnoyIndex, queries: Queries, truths: Sequence[set[int]], k: int, effort: int) -> float:
    return reached(lambda query: index.get_nns_by_vector(query.tolist(), k, effort), queries, truths, k)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with open_file(file, _AGAIN) as content:
        while part := content.read(MEBIBYTE):
            digest.update(part)
    return digest.hexdigest()


def _notes(file: Path) -> Path:
    return file.with_suffix(".json")
