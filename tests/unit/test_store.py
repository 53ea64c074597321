"""The store, its filters, its search and its exports: the same on SQLite and on PostgreSQL."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text as sql

from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.store import filters
from interp.store.filters import Among, And, Filter, Not, Or, parse_filter
from interp.store.index_annoy import AnnoySearch, build_annoy
from interp.store.index_exact import ExactIndex
from interp.store.neuronpedia import export_neuronpedia, import_neuronpedia
from interp.store.parquet import export_parquet, import_parquet
from interp.store.rows import DescriptionRow, ExemplarRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.search import Searcher
from interp.store.store import Store
from tests.databases import KINDS, new_database, postgres_server

NAMES = count()
WORDS = (
    "names of cities in France",
    "the digit nine in a date",
    "verbs in the past tense",
    "weather, rain and storms",
)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "store.sqlite")
    return new_database(request.getfixturevalue("server"), f"store{next(NAMES)}")


@pytest.fixture
def store(where: str) -> Iterator[Store]:
    opened = Store(where)
    yield opened
    opened.close()


def _rows(n: int = 4, **options: Any) -> list[FeatureRow]:
    return [
        FeatureRow(
            "mlp.3", i, 1 if i % 2 == 0 else -1, 0.01 * i, {"0.99": float(i), "0.9999": float(i) + 1},
            (
                DescriptionRow(
                    WORDS[i % len(WORDS)], "patterns", 0, "short", True, i % 2 == 0, "why", {"run": "r"},
                    (ScoreRow("simulation", "known", "report", i / 10, 0.0, 0.5, 0.01, -0.1, 0.1, 40, 1),
                     ScoreRow("detection", "judge", "report", None, n=3)),
                ),
                DescriptionRow("another one", "patterns", 1, chosen=False),
            ),
            (ExemplarRow("world(1)", "explain", 17, 3, 2.5, "top"),
             ExemplarRow("world(1)", "explain", 18, 0, 1.5, "quantile", 0.3)),
        )
        for i in range(n)
    ]  # fmt: skip


def _filled(store: Store, n: int = 4) -> Store:
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 320, True, {"mined": "x"}))
    store.put_space(SpaceRow("world", "sae.resid_post.4", "resid_post.4", 4, 1024, False))
    store.put("world", _rows(n))
    store.put(
        "world", [FeatureRow("sae.resid_post.4", 7, 1, descriptions=(DescriptionRow("rain", "prompted"),))]
    )
    return store


def test_what_was_put_is_there_and_putting_it_again_doubles_nothing(store: Store) -> None:
    _filled(store)
    before = list(store.features("world"))
    counts = store.counts()
    assert before[:4] == [row for i in (0, 1, 2, 3) for row in _rows() if row.feature_id == i]
    _filled(store)
    assert list(store.features("world")) == before
    assert store.counts() == counts
    assert store.described("world") == {"mlp.3/0+", "mlp.3/1-", "mlp.3/2+", "mlp.3/3-", "sae.resid_post.4/7+"}
    assert store.described("world", "prompted") == {"sae.resid_post.4/7+"}
    assert store.feature("world", "mlp.3/1-").descriptions[0].scores[0].value == 0.1


def test_a_description_that_is_put_again_loses_its_old_scores_and_vectors(store: Store) -> None:
    _filled(store)
    Searcher(store, TfidfEmbedder.fit(list(WORDS)))
    vectors = store.counts()["embeddings"]
    store.put(
        "world", [FeatureRow("mlp.3", 0, 1, descriptions=(DescriptionRow("new words", "patterns", 0),))]
    )
    found = store.feature("world", "mlp.3/0+")
    assert [one.text for one in found.descriptions] == ["new words", "another one"]
    assert found.descriptions[0].scores == ()
    assert len(found.exemplars) == 2
    assert store.counts()["embeddings"] == vectors - 1


@pytest.mark.parametrize(
    "text",
    ["<b onload='x'>", "tab\t line\n bell\x07 esc\x1b[31m", "🙂 日本 ä", "x" * 100_000, "'; drop table", ""],
    ids=["markup", "control", "unicode", "long", "sql", "empty"],
)  # fmt: skip
def test_text_comes_back_as_it_went_in(store: Store, text: str) -> None:
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 320, True))
    store.put("world", [FeatureRow("mlp.3", 0, 1, descriptions=(DescriptionRow(text, "prompted"),))])
    assert store.feature("world", "mlp.3/0+").descriptions[0].text == text


def test_keywords_are_found_in_any_case_beyond_ascii(store: Store) -> None:
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 320, True))
    store.put("world", [FeatureRow("mlp.3", 0, 1, descriptions=(DescriptionRow("Äpfel, 日本, Ça", "x"),))])
    for words in ("äpfel", "ÄPFEL", "日本", "ça"):
        assert _kept(store, filters.Containing(words)) == {"mlp.3/0+"}
    assert _kept(store, filters.Containing("apfel")) == set()


def test_nul_and_half_a_surrogate_pair_become_visible_marks(store: Store) -> None:
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 320, True))
    store.put("world", [FeatureRow("mlp.3", 0, 1, descriptions=(DescriptionRow("a\0b\ud800c", "prompted"),))])
    assert store.feature("world", "mlp.3/0+").descriptions[0].text == "a␀b�c"


def test_what_is_not_there_is_said(store: Store) -> None:
    with pytest.raises(UserError, match=r"does not know the space mlp\.9"):
        store.put("world", [FeatureRow("mlp.9", 0, 1)])
    _filled(store)
    with pytest.raises(UserError, match=r"mlp\.3/99\+"):
        store.feature("world", "mlp.3/99+")
    with pytest.raises(UserError, match=r"no space 'mlp\.4'") as error:
        filters.InSpace(("mlp.4",)).mask(store, store.catalogue())
    assert "mlp.3" in error.value.fix
    with pytest.raises(UserError, match="fuzzing report"):
        filters.ScoreBetween("fuzzing").mask(store, store.catalogue())


def test_a_failed_write_leaves_nothing_behind(store: Store) -> None:
    _filled(store)
    before = store.counts()
    with pytest.raises(UserError):
        store.put("world", [*_rows(3), FeatureRow("unknown", 0, 1)])
    assert store.counts() == before


def _kept(store: Store, condition: Filter) -> set[str]:
    catalogue = store.catalogue()
    rows = catalogue[condition.mask(store, catalogue)]
    return {FeatureRow(*row).key for row in rows[["space", "feature_id", "polarity"]].itertuples(index=False)}


def test_each_filter_keeps_what_it_says(store: Store) -> None:
    _filled(store)
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


@settings(max_examples=60, deadline=None)
@given(pair=algebra)
def test_filters_are_exact_set_algebra_with_polarity(
    empty: Store, pair: tuple[Filter, set[tuple[str, int, int]]]
) -> None:
    condition, expected = pair
    catalogue = pd.DataFrame(SIDES, columns=["space", "feature_id", "polarity"])
    mask = condition.mask(empty, catalogue)
    assert {side for side, kept in zip(SIDES, mask.tolist(), strict=True) if kept} == expected


def test_filters_are_read_from_json_and_what_is_none_is_refused(store: Store) -> None:
    _filled(store)
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
        with pytest.raises(UserError, match="is no filter"):
            parse_filter(wrong)


def test_search_finds_by_words_within_what_a_filter_keeps(store: Store) -> None:
    _filled(store, 40)
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
    store = _filled(Store(tmp_path / "store.sqlite"), 60)
    embedder = TfidfEmbedder.fit(list(WORDS))
    first = Searcher(store, embedder, index="annoy").search("a city in france", 2)
    assert first[0].text == WORDS[0]
    assert len(list((tmp_path / "store.sqlite.annoy").glob("*.ann"))) == 1
    Searcher(store, embedder, index="annoy")
    store.put("world", [FeatureRow("mlp.3", 100, 1, descriptions=(DescriptionRow("cities of France", "x"),))])
    Searcher(store, embedder, index="annoy")
    assert len(list((tmp_path / "store.sqlite.annoy").glob("*.ann"))) == 2


def test_parquet_goes_round_exactly(store: Store, tmp_path: Path) -> None:
    _filled(store)
    counts = export_parquet(store, tmp_path / "out")
    assert counts == {name: number for name, number in store.counts().items() if name != "embeddings"}
    other = Store(tmp_path / "other.sqlite")
    import_parquet(other, tmp_path / "out")
    assert other.spaces() == store.spaces()
    assert list(other.features("world")) == list(store.features("world"))
    (tmp_path / "out" / "scores.parquet").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        import_parquet(other, tmp_path / "out")


def test_neuronpedias_json_goes_round_and_its_own_export_is_read(store: Store, tmp_path: Path) -> None:
    _filled(store)
    windows = {"mlp.3/0+": [((" a", " b"), (0.5, 2.0))]}
    counts = export_neuronpedia(store, "world", tmp_path / "out", windows)
    assert counts == {"features": 5, "explanations": 9, "activations": 1}
    line = json.loads((tmp_path / "out" / "explanations" / "batch-0.jsonl").read_text().splitlines()[2])
    assert (line["modelId"], line["layer"], line["index"]) == ("world", "mlp.3-negative", "1")
    other = Store(tmp_path / "other.sqlite")
    import_neuronpedia(other, tmp_path / "out")
    read, wrote = (list(one.features("world")) for one in (other, store))
    assert [row.key for row in read] == [row.key for row in wrote]
    assert [[(d.text, d.chosen, d.scores) for d in row.descriptions] for row in read] == [
        [(d.text, d.chosen, d.scores) for d in row.descriptions] for row in wrote
    ]
    theirs = tmp_path / "theirs" / "explanations"
    theirs.mkdir(parents=True)
    entry = {
        "modelId": "gpt2-small",
        "layer": "6-res-jb",
        "index": "650",
        "description": "months",
        "typeName": "oai_token-act-pair",
    }
    (theirs / "batch-0.jsonl").write_text(
        json.dumps(entry) + "\n" + json.dumps({**entry, "description": "May"}) + "\n"
    )
    import_neuronpedia(other, tmp_path / "theirs")
    assert [d.text for d in other.feature("gpt2-small", "6-res-jb/650+").descriptions] == ["months", "May"]
    (theirs / "batch-1.jsonl").write_text('{"modelId": "x"}\n')
    with pytest.raises(UserError, match="line 1 is no explanation"):
        import_neuronpedia(other, tmp_path / "theirs")


def test_a_store_of_a_newer_version_is_refused_and_left_alone(where: str) -> None:
    store = Store(where)
    with store.engine.begin() as connection:
        connection.execute(sql("update meta set value = '99' where name = 'version'"))
    store.close()
    with pytest.raises(UserError, match="newer version"):
        Store(where)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello " * 1000)
    with pytest.raises(UserError, match="cannot be used"):
        Store(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table things (a int)")
    with pytest.raises(UserError, match="another database"):
        Store(tmp_path / "other.db")
    with pytest.raises(UserError, match="is a folder"):
        Store(tmp_path)
    with pytest.raises(UserError, match="are not known"):
        Store("mysql://localhost/x")
    with pytest.raises(UserError) as error:
        Store("postgresql://user:secret-word@127.0.0.1:9/x?connect_timeout=1")
    assert "secret-word" not in str(error.value)


WRITER = """
import sys
from interp.store.rows import DescriptionRow, FeatureRow
from interp.store.store import Store
store = Store(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[3])):
    described = (DescriptionRow(f"{sys.argv[2]} {i}", sys.argv[2]),)
    store.put("world", [FeatureRow("mlp.3", 10 * i + j, 1, descriptions=described) for j in range(10)])
    print(i, flush=True)
"""


@pytest.fixture
def writer(where: str) -> Callable[[str, int], "subprocess.Popen[str]"]:
    def start(name: str, n: int) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", WRITER, where, name, str(n)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        return process

    return start


def test_two_writers_at_once_lose_nothing(store: Store, writer: Callable[[str, int], Any]) -> None:
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 10_000, True))
    writers = [writer(name, 30) for name in ("one", "two")]
    for one in writers:
        one.stdin.write("go\n")
        one.stdin.flush()
    assert [one.wait(timeout=120) for one in writers] == [0, 0]
    assert store.counts()["descriptions"] == 600
    assert store.counts()["features"] == 300


def test_a_writer_that_is_killed_leaves_whole_transactions(
    store: Store, writer: Callable[[str, int], Any]
) -> None:
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 100_000, True))
    one = writer("one", 5000)
    one.stdin.write("go\n")
    one.stdin.flush()
    time.sleep(0.5)
    one.kill()
    one.wait()
    n = store.counts()["features"]
    assert n > 0
    assert n % 10 == 0
    assert store.counts()["descriptions"] == n
