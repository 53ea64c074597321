"""Filters and search: the same on SQLite and on PostgreSQL."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.store import filters
from interp.store.filters import Among, And, Filter, Not, Or, parse_filter
from interp.store.index_annoy import AnnoySearch, build_annoy
from interp.store.index_exact import ExactIndex
from interp.store.rows import DescriptionRow, FeatureRow, SpaceRow
from interp.store.search import Searcher
from interp.store.store import Store
from tests.stores import WORDS, filled


def _kept(store: Store, condition: Filter) -> set[str]:
    catalogue = store.catalogue()
    rows = catalogue[condition.mask(store, catalogue)]
    return {FeatureRow(*row).key for row in rows[["space", "feature_id", "polarity"]].itertuples(index=False)}


def test_keywords_are_found_in_any_case_beyond_ascii(store: Store) -> None:
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 320, True))
    store.put("world", [FeatureRow("mlp.3", 0, 1, descriptions=(DescriptionRow("Äpfel, 日本, Ça", "x"),))])
    for words in ("äpfel", "ÄPFEL", "日本", "ça"):
        assert _kept(store, filters.Containing(words)) == {"mlp.3/0+"}
    assert _kept(store, filters.Containing("apfel")) == set()


def test_each_filter_keeps_what_it_says(store: Store) -> None:
    filled(store)
    neurons = {"mlp.3/0+", "mlp.3/1-", "mlp.3/2+", "mlp.3/3-"}
    latent = {"sae.resid_post.4/7+"}
    assert _kept(store, filters.InSpace(("mlp.3",))) == neurons
    assert _kept(store, filters.InLayers(4, 9)) == latent
    assert _kept(store, filters.OfPolarity(-1)) == {"mlp.3/1-", "mlp.3/3-"}
    assert _kept(store, filters.ScoreBetween("simulation", 0.1, 0.25)) == {"mlp.3/1-", "mlp.3/2+"}
    assert _kept(store, filters.Containing("RAIN")) == {"mlp.3/3-", *latent}
    assert _kept(store, filters.Containing("%")) == set()
    assert _kept(store, filters.Interesting()) == {"mlp.3/0+", "mlp.3/2+"}
    activations = {"mlp.3": np.array([[1.5, -2.5, 0.0, 9.0], [0.0, 0.0, 2.5, -3.9]], dtype=np.float32)}
    assert _kept(store, filters.BeyondQuantile(activations, "0.9999")) == {"mlp.3/0+", "mlp.3/1-"}
    assert _kept(store, filters.BeyondQuantile(activations, "0.99")) == neurons
    assert _kept(store, filters.active_at(activations, [1])) == {"mlp.3/2+", "mlp.3/3-"}
    table = pd.DataFrame(
        {
            "space": ["mlp.3"] * 3,
            "feature": [0, 1, 3],
            "activation": [1.0, -1.0, -2.0],
            "attribution": [0.1, -9.0, 3.0],
        }
    )
    assert _kept(store, filters.most_attributed(table, 2)) == {"mlp.3/1-", "mlp.3/3-"}
    both = (filters.OfPolarity(1) & filters.InSpace(("mlp.3",))) | ~filters.InLayers(0, 3)
    assert _kept(store, both) == {"mlp.3/0+", "mlp.3/2+", *latent}


SIDES = [(space, i, polarity) for space in ("a", "b") for i in range(3) for polarity in (1, -1)]
sides = st.frozensets(st.sampled_from(SIDES))
algebra = st.recursive(
    sides.map(lambda chosen: (Among(chosen), set(chosen))),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: (p[0][0] & p[1][0], p[0][1] & p[1][1])),
        st.tuples(inner, inner).map(lambda p: (p[0][0] | p[1][0], p[0][1] | p[1][1])),
        inner.map(lambda p: (~p[0], set(SIDES) - p[1])),
        st.lists(inner, max_size=3).map(
            lambda ps: (And(tuple(p[0] for p in ps)), set(SIDES).intersection(*(p[1] for p in ps)))
        ),
        st.lists(inner, max_size=3).map(
            lambda ps: (Or(tuple(p[0] for p in ps)), set().union(*(p[1] for p in ps)))
        ),
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("empty") / "store.sqlite")


@settings(max_examples=60)
@given(pair=algebra)
def test_filters_are_exact_set_algebra_with_polarity(
    empty: Store, pair: tuple[Filter, set[tuple[str, int, int]]]
) -> None:
    condition, expected = pair
    catalogue = pd.DataFrame(SIDES, columns=["space", "feature_id", "polarity"])
    mask = condition.mask(empty, catalogue)
    assert {side for side, kept in zip(SIDES, mask.tolist(), strict=True) if kept} == expected


def test_filters_are_read_from_json_and_what_is_none_is_refused(store: Store) -> None:
    filled(store)
    written = {
        "and": [
            {"space": ["mlp.3"]},
            {"not": {"polarity": -1}},
            {"or": [{"keyword": "digit"}, {"layers": [3, 3]}]},
        ]
    }
    assert _kept(store, parse_filter(json.loads(json.dumps(written)))) == {"mlp.3/0+", "mlp.3/2+"}
    assert isinstance(parse_filter({"not": {"interesting": []}}), Not)
    for wrong in ({}, {"spice": 1}, {"and": 3}, {"layers": [1, 2, 3, 4]}, {"a": 1, "b": 2}):
        with pytest.raises(UserError, match="is not a filter"):
            parse_filter(wrong)


def test_search_finds_by_words_within_what_a_filter_keeps(store: Store) -> None:
    filled(store, 40)
    searcher = Searcher(store, TfidfEmbedder.fit(list(WORDS)))
    hits = searcher.search("a city in france", k=3)
    assert hits[0].text == WORDS[0]
    assert hits[0].key == "mlp.3/0+"
    assert hits[0].score == 0.0
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
    only = searcher.search("a city in france", k=50, only=filters.OfPolarity(-1))
    assert {hit.polarity for hit in only} == {-1}
    assert len(only) == 20
    assert searcher.search("zzz qqq", k=3) == []
    assert searcher.search("rain", k=0) == []
    again = Searcher(store, TfidfEmbedder.fit(list(WORDS)))
    assert again.search("a city in france", k=3) == hits


def test_a_store_without_descriptions_says_so(store: Store) -> None:
    with pytest.raises(UserError, match="there are no descriptions"):
        Searcher(store, TfidfEmbedder.fit(list(WORDS)))


def _clustered(n: int, width: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, width))
    vectors = centres[rng.integers(0, 20, n)] + rng.normal(size=(n, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_exact_index_is_a_full_scan() -> None:
    vectors = _clustered(3000)
    index = ExactIndex(vectors)
    allowed = np.arange(3000) % 3 == 0
    for query in _clustered(10, seed=1):
        for mask in (None, allowed):
            rows, likeness = index.search(query, 50, mask)
            products = vectors @ query
            if mask is not None:
                products = np.where(mask, products, -np.inf)
            expected = np.argsort(-products, kind="stable")[:50]
            np.testing.assert_array_equal(rows, expected)
            np.testing.assert_allclose(likeness, products[expected], rtol=1e-5)


def test_an_index_is_whole_or_not_there_whenever_its_building_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.ann"
    whole = build_annoy(_clustered(50), tmp_path / "whole.ann", recall=0.9, k=5).tuning
    rename = os.replace
    for stops_at in (1, 2):
        left = stops_at

        def stop(source: str, target: Path) -> None:
            nonlocal left
            rename(source, target)
            left -= 1
            if not left:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            build_annoy(_clustered(50), file, recall=0.9, k=5)
        assert not file.exists() or AnnoySearch(file).tuning == whole


def test_annoy_reaches_the_recall_that_it_was_asked_for_and_records_it(tmp_path: Path) -> None:
    vectors = _clustered(2000)
    index = build_annoy(vectors, tmp_path / "a.ann", recall=0.95, k=100)
    assert index.tuning.recall >= 0.9
    assert index.tuning.chosen_on >= 0.95
    shared = AnnoySearch(tmp_path / "a.ann")
    assert shared.tuning == index.tuning
    exact = ExactIndex(vectors)
    hits = [
        len(set(shared.search(q, 100)[0].tolist()) & set(exact.search(q, 100)[0].tolist())) / 100
        for q in _clustered(30, seed=2)
    ]
    assert np.mean(hits) > 0.85
    allowed = np.arange(2000) < 100
    rows, _ = shared.search(vectors[5], 20, allowed)
    assert len(rows) > 10
    assert (rows < 100).all()
    (tmp_path / "a.ann").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        AnnoySearch(tmp_path / "a.ann")


def test_an_annoy_index_lies_beside_the_store_and_follows_its_content(tmp_path: Path) -> None:
    store = filled(Store(tmp_path / "store.sqlite"), 60)
    embedder = TfidfEmbedder.fit(list(WORDS))
    first = Searcher(store, embedder, index="annoy").search("a city in france", 2)
    assert first[0].text == WORDS[0]
    assert len(list((tmp_path / "store.sqlite.annoy").glob("*.ann"))) == 1
    Searcher(store, embedder, index="annoy")
    store.put("world", [FeatureRow("mlp.3", 100, 1, descriptions=(DescriptionRow("cities of France", "x"),))])
    Searcher(store, embedder, index="annoy")
    assert len(list((tmp_path / "store.sqlite.annoy").glob("*.ann"))) == 2


def test_terms_that_do_not_fit_are_a_message(tmp_path: Path) -> None:
    TfidfEmbedder.fit(["a cat", "a dog"]).save(tmp_path)
    (tmp_path / "terms.json").write_text('["a"]')
    with pytest.raises(UserError, match="fit it again"):
        TfidfEmbedder.load(tmp_path)
