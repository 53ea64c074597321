"""The store and its exports: the same on SQLite and on PostgreSQL."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql

from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.store import filters
from interp.store.neuronpedia import export_neuronpedia, import_neuronpedia
from interp.store.parquet import export_parquet, import_parquet
from interp.store.rows import DescriptionRow, FeatureRow, SpaceRow
from interp.store.search import Searcher
from interp.store.store import Store
from tests.stores import WORDS, filled, rows_of


def test_what_was_put_is_there_and_putting_it_again_doubles_nothing(store: Store) -> None:
    filled(store)
    before = list(store.features("world"))
    counts = store.counts()
    assert before[:4] == [row for i in (0, 1, 2, 3) for row in rows_of() if row.feature_id == i]
    filled(store)
    assert list(store.features("world")) == before
    assert store.counts() == counts
    assert store.described("world") == {"mlp.3/0+", "mlp.3/1-", "mlp.3/2+", "mlp.3/3-", "sae.resid_post.4/7+"}
    assert store.described("world", "prompted") == {"sae.resid_post.4/7+"}
    assert store.feature("world", "mlp.3/1-").descriptions[0].scores[0].value == 0.1


def test_a_description_that_is_put_again_loses_its_old_scores_and_vectors(store: Store) -> None:
    filled(store)
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


def test_nul_and_half_a_surrogate_pair_become_visible_marks(store: Store) -> None:
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 320, True))
    store.put("world", [FeatureRow("mlp.3", 0, 1, descriptions=(DescriptionRow("a\0b\ud800c", "prompted"),))])
    assert store.feature("world", "mlp.3/0+").descriptions[0].text == "a␀b�c"


def test_what_is_not_there_is_said(store: Store) -> None:
    with pytest.raises(UserError, match=r"does not know the space mlp\.9"):
        store.put("world", [FeatureRow("mlp.9", 0, 1)])
    filled(store)
    with pytest.raises(UserError, match=r"mlp\.3/99\+"):
        store.feature("world", "mlp.3/99+")
    with pytest.raises(UserError, match=r"no space 'mlp\.4'") as error:
        filters.InSpace(("mlp.4",)).mask(store, store.catalogue())
    assert "mlp.3" in error.value.fix
    with pytest.raises(UserError, match="fuzzing report"):
        filters.ScoreBetween("fuzzing").mask(store, store.catalogue())


def test_a_failed_write_leaves_nothing_behind(store: Store) -> None:
    filled(store)
    before = store.counts()
    with pytest.raises(UserError):
        store.put("world", [*rows_of(3), FeatureRow("unknown", 0, 1)])
    assert store.counts() == before


def test_parquet_goes_round_exactly(store: Store, tmp_path: Path) -> None:
    filled(store)
    counts = export_parquet(store, tmp_path / "out")
    assert counts == {name: number for name, number in store.counts().items() if name != "embeddings"}
    other = Store(tmp_path / "other.sqlite")
    import_parquet(other, tmp_path / "out")
    assert other.spaces() == store.spaces()
    assert list(other.features("world")) == list(store.features("world"))
    (tmp_path / "out" / "scores.parquet").unlink()
    with pytest.raises(UserError, match="no file"):
        import_parquet(other, tmp_path / "out")


def test_neuronpedias_json_goes_round_and_its_own_export_is_read(store: Store, tmp_path: Path) -> None:
    filled(store)
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
    with pytest.raises(UserError, match=r"(?s)`layer` is missing.*batch-1.jsonl, line 1"):
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


def test_a_store_in_memory_is_one_for_all_threads() -> None:
    store = Store(":memory:")
    store.put_space(SpaceRow("world", "mlp.0", "mlp_post.0", 0, 4, True))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: store.spaces(), range(8)))
    assert [[space.name for space in one] for one in found] == [["mlp.0"]] * 8
