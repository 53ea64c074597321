"""Approximate nearest neighbours in a file that processes can share: annoy, tuned to a given recall."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from annoy import AnnoyIndex
from jaxtyping import Bool, Float, Int
from pydantic import TypeAdapter

from interp.errors import UserError
from interp.json_text import read_json
from interp.outside import MEBIBYTE, open_file
from interp.store.index_exact import ExactIndex
from interp.track.files import atomic, write_json

TREES = (10, 50, 200)
QUERIES = 40
SEED = 7
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
    vectors: Float[np.ndarray, "row width"], file: Path, recall: float, k: int = 500, seed: int = SEED
) -> AnnoySearch:
    """Build the index with the fewest trees and the least search effort that reach `recall` at `k`.

    The choice is made on queries (rows with noise) and checked on others, and both recalls are recorded. If
    the most trees with a full search do not reach `recall`, they are kept with what they reach.
    """
    k = min(k, len(vectors))
    choosing, checking = _queries(vectors, seed)
    exact = ExactIndex(vectors)
    truths = [[set(exact.search(query, k)[0].tolist()) for query in part] for part in (choosing, checking)]

    def reached(
        index: AnnoyIndex, queries: Float[np.ndarray, "query width"], truth: list[set[int]], effort: int
    ) -> float:
        hits = [
            len(true & set(index.get_nns_by_vector(query.tolist(), k, effort)))
            for query, true in zip(queries, truth, strict=True)
        ]
        return float(np.mean(hits)) / k

    for trees in TREES:
        index = _built(vectors, trees, seed)
        effort, chosen_on = k * trees, 0.0
        while True:
            chosen_on = reached(index, choosing, truths[0], effort)
            if chosen_on >= recall or effort >= len(vectors):
                break
            effort = min(2 * effort, len(vectors))
        if (
            effort <= len(vectors) // 4
            or trees == TREES[-1]
            or (chosen_on >= recall and effort < len(vectors))
        ):
            break
    recalled = reached(index, checking, truths[1], effort)
    with atomic(file) as temporary:
        index.save(str(temporary))
        tuning = IndexBuild(
            len(vectors), vectors.shape[1], trees, effort, k, recall, recalled, chosen_on, len(checking),
            _digest(temporary),
        )  # fmt: skip
        write_json(_notes(file), asdict(tuning))  # before the index appears, so that it is never without them
    return AnnoySearch(file)


def read_annoy(file: Path) -> AnnoySearch | None:
    """Opens the index in a file; None if it is missing or damaged and has to be built again."""
    try:
        return AnnoySearch(file) if file.exists() or _notes(file).exists() else None
    except UserError:
        return None


def _built(vectors: Float[np.ndarray, "row width"], trees: int, seed: int) -> AnnoyIndex:
    index = AnnoyIndex(vectors.shape[1], "dot")
    index.set_seed(seed)
    for row, vector in enumerate(vectors):
        index.add_item(row, vector)
    index.build(trees, n_jobs=1)  # several threads would leave the trees in the order they finished
    return index


def _queries(vectors: Float[np.ndarray, "row width"], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows with noise of half their length, normalised: half to choose by, half to check."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(vectors), size=min(2 * QUERIES, len(vectors)), replace=False)
    noise = rng.normal(size=(len(rows), vectors.shape[1])) * 0.5 / np.sqrt(vectors.shape[1])
    near = vectors[rows] + noise
    unit = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    return unit[::2], unit[1::2] if len(unit) > 1 else unit


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with open_file(file, _AGAIN) as content:
        while part := content.read(MEBIBYTE):
            digest.update(part)
    return digest.hexdigest()


def _notes(file: Path) -> Path:
    return file.with_suffix(".json")
