"""Vectors of descriptions in bulk, and pgvector's graph beside the exact scan."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from interp.errors import UserError
from interp.store import index_annoy
from interp.store.filters import Among, OfPolarity
from interp.store.index_annoy import build_annoy
from interp.store.index_exact import ExactIndex
from interp.store.rows import DescriptionRow, FeatureRow, SpaceRow
from interp.store.search import IN_DATABASE_UP_TO, Searcher
from interp.store.store import Store

N, WIDTH = 1200, 16


class Given:
    """An embedder whose vectors are given: those of the rows by their number, of a query by its words."""

    name, width = "given '%s'", WIDTH

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def embed(self, texts: list[str]) -> np.ndarray:
        return self.vectors[[int(text.split()[1]) for text in texts]]


def unit(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, WIDTH))
    drawn = centres[rng.integers(0, 30, n)] + 0.7 * rng.normal(size=(n, WIDTH))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def described(store: Store, n: int = N) -> tuple[Store, Given]:
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, n, True))
    rows = (
        FeatureRow("mlp.3", i // 2, 1 - 2 * (i % 2), descriptions=(DescriptionRow(f"number {i}", "x"),))
        for i in range(n)
    )
    store.put("world", rows)
    return store, Given(unit(n, 0))


def numbers(texts: list[str]) -> list[int]:
    return [int(text.split()[1]) for text in texts]


def test_vectors_come_back_as_they_were_and_are_replaced(store: Store) -> None:
    _, given = described(store)
    ids = sorted(store.texts())
    order = np.random.default_rng(0).permutation(N)
    store.put_vectors(given.name, [ids[i] for i in order], given.vectors[order])
    store.put_vectors("other", ids[:2], unit(2, 5))
    back, vectors = store.vectors(given.name)
    assert back.tolist() == ids
    np.testing.assert_array_equal(vectors, given.vectors)
    store.put_vectors(given.name, ids[:1], -given.vectors[:1])
    np.testing.assert_array_equal(store.vectors(given.name)[1][:2], given.vectors[:2] * [[-1], [1]])
    assert [len(part) for part in store.vectors("no such")] == [0, 0]
    store.put_vectors(given.name, ids[1:2], unit(1, 0)[:, :3])
    with pytest.raises(UserError, match="not equally long"):
        store.vectors(given.name)


def test_every_way_of_searching_finds_what_a_full_scan_finds(store: Store) -> None:
    store, given = described(store)
    postgres = store.engine.dialect.name == "postgresql"
    ways = {"auto": Searcher(store, given), "exact": Searcher(store, given, "exact")}
    assert (ways["auto"].index is None) == postgres and N < IN_DATABASE_UP_TO
    if postgres:
        ways["hnsw"] = Searcher(store, given, "hnsw", recall=0.9)
    positive = np.arange(N) % 2 == 0
    for query in (3, 500, 901):
        products = given.vectors @ given.vectors[query]
        for only, allowed in ((None, np.ones(N, dtype=bool)), (OfPolarity(1), positive)):
            true = np.argsort(-np.where(allowed, products, -np.inf), kind="stable")[:40].tolist()
            for name, searcher in ways.items():
                hits = searcher.search(f"number {query}", 40, only)
                found = numbers([hit.text for hit in hits])
                if name == "hnsw":
                    assert len(set(found) & set(true)) >= 30 and len(found) == 40
                    assert allowed[found].all()
                else:
                    assert found == true
                expected = [float(products[one]) for one in found]
                assert [hit.similarity for hit in hits] == pytest.approx(expected, abs=1e-5)


def test_a_filter_may_keep_more_than_a_statement_takes_values(store: Store) -> None:
    """65,535 parameters are the most that PostgreSQL takes; this filter keeps 69,999 descriptions."""
    n, vectors = 70_000, unit(70_000, 2)
    if store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite's vectors are always scanned in memory")
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, n, False))
    with store.engine.begin() as connection:
        for statement in (
            "insert into features (space, feature_id, polarity, quantiles) select 1, i, 1, '{}'",
            "insert into descriptions "
            "(feature, explainer, sample, text, summary, chosen, reason, provenance) "
            "select i + 1, 'x', 0, 'number ' || i, '', true, '', '{}'",
        ):
            connection.execute(text(f"{statement} from generate_series(0, {n - 1}) i"))
    store.put_vectors(Given.name, range(1, n + 1), vectors)
    searcher = Searcher(store, Given(vectors))
    assert isinstance(searcher.index, ExactIndex)  # so many are scanned in memory
    products = vectors @ vectors[7]
    best = np.argsort(-products, kind="stable")[:6].tolist()
    for index in (searcher.index, None):
        searcher.index = index
        assert numbers([hit.text for hit in searcher.search("number 7", 6)]) == best
        without = searcher.search("number 7", 5, ~Among(frozenset({("mlp.3", 7, 1)})))
        assert numbers([hit.text for hit in without]) == [one for one in best if one != 7]


def test_a_graph_is_kept_grows_and_is_refused_where_it_does_not_reach_the_recall(store: Store) -> None:
    store, given = described(store)
    if store.engine.dialect.name == "sqlite":
        with pytest.raises(UserError, match="this is SQLite"):
            Searcher(store, given, "hnsw")
        return
    with pytest.raises(
        UserError, match=r"(?s)finds [01]\.\d+ of the 500 nearest at the most effort.*not 1\.5"
    ):
        Searcher(store, given, "hnsw", recall=1.5)  # no graph can
    first = Searcher(store, given, "hnsw", recall=0.8).index
    assert first.tuning.recall >= 0.75 and first.tuning.chosen_on >= 0.8
    with store.engine.connect() as connection:
        counted = text("select count(*) from pg_indexes where indexname like 'embeddings_hnsw%'")
        assert connection.execute(counted).scalar_one() == 1
    described_more = FeatureRow("mlp.3", 5000, 1, descriptions=(DescriptionRow("number 11", "x"),))
    store.put("world", [described_more])
    again = Searcher(store, given, "hnsw", recall=0.8)
    assert again.index.tuning == first.tuning  # opened, not built
    assert {hit.feature_id for hit in again.search("number 11", 2)} == {5, 5000}


def test_annoy_that_cannot_be_tuned_in_time_says_what_it_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time goes by as it does with many vectors: every look at the clock finds it a minute later."""
    minutes = count()
    monkeypatch.setattr(index_annoy, "perf_counter", lambda: 60.0 * next(minutes))
    with pytest.raises(UserError, match=r"tuned in 60 s: after \d+ s, 10 trees would take 0 s more"):
        build_annoy(unit(N, 3), tmp_path / "a.ann", 0.99, k=20, seconds=60.0)
    minutes = count()
    with pytest.raises(
        UserError,
        match=r"(?s)of 1,200 vectors is not built and tuned in 600 s: after \d+ s, 10 trees with search_k "
        r"200 find 0\.\d+ of the 20 nearest, not 0\.99, in \d+ ms a query, a scan all of them in \d+ ms; "
        r"search_k 400 would take 120 s more.*use index exact",
    ):
        build_annoy(unit(N, 3), tmp_path / "a.ann", 0.99, k=20)
    assert list(tmp_path.iterdir()) == []
