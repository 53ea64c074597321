"""Find features by the meaning of their descriptions."""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sqlalchemy import ARRAY, Integer, bindparam, exists, func, select
from sqlalchemy import Float as SqlFloat

from interp.embed.embedder import Embedder
from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.store import schema
from interp.store.connect import explained
from interp.store.filters import Filter
from interp.store.index_annoy import AnnoySearch, build_annoy, read_annoy
from interp.store.index_exact import ExactIndex
from interp.store.index_hnsw import HnswSearch, open_hnsw
from interp.store.read import fetched
from interp.store.store import Store, open_store

IndexKind = Literal["auto", "exact", "annoy", "hnsw"]
EXACT_UP_TO = 1_000_000
"""Number of vectors up to which `auto` scans all of them; for the cost see benchmarks/RESULTS.md."""
IN_DATABASE_UP_TO = 50_000
"""Number of vectors up to which `auto` lets PostgreSQL scan them; more are scanned in memory."""
AT_ONCE = 4096


class Index(Protocol):
    """Finds the rows nearest to a query."""

    def search(
        self, query: Float[np.ndarray, " width"], k: int, allowed: Bool[np.ndarray, " row"] | None = None
    ) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
        """The allowed rows nearest to the query, best first, and their inner products with it."""
        ...


@dataclass(frozen=True)
class Hit:
    """A description that was found, its similarity to the query, and the feature that it describes."""

    description: int
    similarity: float
    subject: str
    space: str
    feature_id: int
    polarity: int
    text: str
    summary: str
    score: float | None

    @property
    def key(self) -> str:
        """The feature's key."""
        return f"{self.space}/{self.feature_id}{'+' if self.polarity > 0 else '-'}"


@runtime_checkable
class Storable(Protocol):
    """Something that can be written to a store, such as descriptions."""

    def store(self) -> Store:
        """Write everything to a new store in memory."""
        ...


class Hits(tuple[Hit, ...]):
    """The descriptions that a search found, best first; a notebook shows them as a table."""

    def __repr__(self) -> str:
        shown = [f"{hit.key} {hit.similarity:.2f}" for hit in self[:5]]
        return f"Hits({', '.join(shown)}{', ...' if len(self) > 5 else ''})"

    def _repr_html_(self) -> str:
        rows = [(round(hit.similarity, 2), hit.key, hit.score, hit.text) for hit in self]
        frame = pd.DataFrame(rows, columns=["likeness", "feature", "score", "description"])
        return str(frame.to_html(escape=True, index=False))


def search(
    where: Store | Storable | str | Path,
    words: str,
    k: int = 20,
    only: Filter | None = None,
    *,
    embedder: Embedder | None = None,
    index: IndexKind = "auto",
    recall: float = 0.95,
) -> Hits:
    """Find the `k` features whose chosen descriptions are most similar to some words and pass `only`.

    `where` is a store, its file or URL, a run's folder, or the result of `interp.describe`. Without an
    `embedder`, TF-IDF is fitted on the descriptions.

    Raises:
        UserError: there is no store, or there are no descriptions.
    """
    with _opened(where) as store:
        if embedder is None:
            embedder = TfidfEmbedder.fit([text for text, _ in store.texts().values()] or [""])
        return Hits(Searcher(store, embedder, index, recall).search(words, k, only))


def _opened(where: Store | Storable | str | Path) -> AbstractContextManager[Store]:
    """Returns a context with the store, which closes it afterwards if it was not open before."""
    if isinstance(where, Store):
        return nullcontext(where)
    return where.store() if isinstance(where, Storable) else open_store(where)


class Searcher:
    """Searches the chosen descriptions of a store; those without a vector are embedded first.

    `recall` is what an approximate index is tuned to: annoy's, in a file in `folder`, by default beside the
    SQLite file, or pgvector's HNSW, in PostgreSQL.

    Raises:
        UserError: there are no descriptions; an approximate index has no folder, is of another kind of
            database, or does not reach `recall` (`build_annoy`, `open_hnsw`).
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        index: IndexKind = "auto",
        recall: float = 0.95,
        folder: Path | None = None,
        score: str = "simulation report",
    ) -> None:
        self._store, self._embedder, self._score = store, embedder, score
        self._catalogue = store.catalogue()
        if self._catalogue.empty:
            raise UserError("there are no descriptions", store.where, "describe features first")
        self._postgres = store.engine.dialect.name == "postgresql"
        self._embed_missing()
        self.index: Index | None = None
        ids, vectors = self._vectors()
        self._catalogue = self._catalogue.set_index("description").loc[ids].reset_index()
        if index == "hnsw":
            self.index = self._hnsw(ids, vectors, recall)
        elif index == "annoy" or (index == "auto" and len(ids) > EXACT_UP_TO and not self._postgres):
            self.index = self._annoy(ids, vectors, recall, folder)
        elif index == "exact" or not self._postgres or IN_DATABASE_UP_TO < len(ids) <= EXACT_UP_TO:
            self.index = ExactIndex(vectors)

    def search(
        self, query: str | Float[np.ndarray, " width"], k: int = 20, only: Filter | None = None
    ) -> list[Hit]:
        """The `k` descriptions most similar to a text or a vector, best first, of those that pass `only`."""
        vector = self._embedder.embed([query])[0] if isinstance(query, str) else query
        allowed = None if only is None else only.mask(self._store, self._catalogue)
        if k < 1 or (allowed is not None and not allowed.any()) or not vector.any():
            return []
        if self.index is None:
            rows, likeness = self._in_database(vector, k, allowed)
        else:
            with explained(self._store.where):
                rows, likeness = self.index.search(vector, k, allowed)
        found = self._catalogue.iloc[rows]
        texts = self._store.texts(found["description"].tolist())
        return [
            self._hit(row, float(similarity), texts)
            for row, similarity in zip(found.to_dict("records"), likeness.tolist(), strict=True)
        ]

    def _hit(self, row: Mapping[Hashable, Any], similarity: float, texts: dict[int, tuple[str, str]]) -> Hit:
        number = int(row["description"])
        score = row.get(self._score)
        return Hit(
            number, similarity, str(row["subject"]), str(row["space"]), int(row["feature_id"]),
            int(row["polarity"]), *texts[number], None if score is None or pd.isna(score) else float(score),
        )  # fmt: skip

    def _embed_missing(self) -> None:
        """Embed the descriptions that have no vector of this embedder, or one of another length."""
        e, d = schema.embeddings, schema.descriptions
        if self._postgres:
            fits = func.vector_dims(e.c.vector) == self._embedder.width
        else:
            fits = func.length(e.c.vector) == 4 * self._embedder.width
        with explained(self._store.where), self._store.engine.connect() as connection:
            # not `not in`, for which PostgreSQL would compare every description with every vector
            there = exists().where(e.c.description == d.c.id, e.c.embedder == self._embedder.name, fits)
            query = select(d.c.id).where(d.c.chosen, ~there).order_by(d.c.id)
            missing = [row.id for row in fetched(connection, query)]
        self._embed(missing)

    def _vectors(self) -> tuple[Int[np.ndarray, " row"], Float[np.ndarray, "row width"]]:
        """Ids and vectors of the chosen descriptions; vectors that are not finite are made again."""
        ids, vectors = self._store.vectors(self._embedder.name)
        damaged = ids[~np.isfinite(vectors).all(axis=1)]
        if not len(damaged):
            return ids, vectors
        self._embed(damaged.tolist())
        return self._store.vectors(self._embedder.name)

    def _embed(self, ids: Sequence[int]) -> None:
        for start in range(0, len(ids), AT_ONCE):
            part = self._store.texts(ids[start : start + AT_ONCE])
            vectors = self._embedder.embed([text for text, _ in part.values()])
            self._store.put_vectors(self._embedder.name, list(part), vectors)

    def _in_database(
        self, vector: Float[np.ndarray, " width"], k: int, allowed: Bool[np.ndarray, " row"] | None
    ) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
        """pgvector's own scan: the inner product, with the filter in the query."""
        e, d = schema.embeddings, schema.descriptions
        distance = e.c.vector.op("<#>", return_type=SqlFloat())(vector).label("distance")
        query = (
            select(e.c.description, distance).join(d, d.c.id == e.c.description)
            .where(e.c.embedder == self._embedder.name, d.c.chosen)
            .order_by("distance", e.c.description).limit(k)
        )  # fmt: skip
        numbers = self._catalogue["description"].to_numpy()
        if allowed is not None and not allowed.all():  # one array: a statement takes 65,535 values at most
            ids = bindparam("ids", numbers[allowed].tolist(), type_=ARRAY(Integer))
            query = query.where(e.c.description == func.any(ids))
        with explained(self._store.where), self._store.engine.connect() as connection:
            found = connection.execute(query).all()
        places = np.searchsorted(numbers, [row[0] for row in found])
        return places.astype(np.int64), np.array([-row[1] for row in found], dtype=np.float32)

    def _hnsw(
        self, ids: Int[np.ndarray, " row"], vectors: Float[np.ndarray, "row width"], recall: float
    ) -> HnswSearch:
        """Opens the graph of these vectors, or builds it."""
        if not self._postgres:
            raise UserError(
                "an HNSW graph is pgvector's, and this is SQLite",
                self._store.where,
                "use index exact or annoy",
            )
        with explained(self._store.where):
            return open_hnsw(self._store.engine, self._embedder.name, ids, vectors, recall)

    def _annoy(
        self,
        ids: Int[np.ndarray, " row"],
        vectors: Float[np.ndarray, "row width"],
        recall: float,
        folder: Path | None,
    ) -> AnnoySearch:
        """Opens the index of exactly these vectors, or builds it."""
        if folder is None:
            if self._store.file is None:
                raise UserError(
                    "an annoy index needs a folder", self._store.where, "name one, or use index exact"
                )
            folder = Path(f"{self._store.file}.annoy")
        digest = hashlib.sha256(ids.astype("<i8").tobytes() + vectors.tobytes())
        digest.update(f"{self._embedder.name} {recall}".encode())
        file = folder / f"{digest.hexdigest()[:16]}.ann"
        return read_annoy(file) or build_annoy(vectors, file, recall)
