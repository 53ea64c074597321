"""Stores that are damaged, of another kind or out of reach: a message that names them, and no traceback."""

import contextlib
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.store import connect as connecting
from interp.store import filters
from interp.store.rows import DescriptionRow, FeatureRow, SpaceRow
from interp.store.search import Searcher
from interp.store.store import Store
from tests.stores import WORDS, exported_store, filled, refused, rows_of, run


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_store(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def damaged(exported: Path, tmp_path: Path) -> Callable[..., Path]:
    def make(*statements: str) -> Path:
        path = tmp_path / "damaged.sqlite"
        shutil.copy(exported / "store.sqlite", path)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        return path

    return make


@pytest.mark.parametrize(
    "statement",
    [
        *(f"update meta set value='{value}'" for value in ("x", "", "0", "-1", "1.5", "9" * 5000)),
        "delete from meta", "drop table meta", "drop table meta; create table meta(a)",
        "alter table scores drop column n", "alter table descriptions drop column summary",
    ],
)  # fmt: skip
def test_a_store_of_another_shape_is_not_opened(damaged: Callable[..., Path], statement: str) -> None:
    path = damaged(*statement.split("; "))
    for command in (
        ("store", "info", path),
        ("search", path, "rain"),
        ("store", "export", path, path.parent / "x"),
    ):
        said = refused(*command)
        assert "damaged.sqlite" in said
        assert len(said) < 700


def test_a_cell_that_its_column_cannot_hold_is_a_message_that_names_the_store(
    damaged: Callable[..., Path],
) -> None:
    places = {
        "features": ("quantiles", "feature_id", "rate"), "descriptions": ("provenance", "text", "explainer"),
        "scores": ("value", "kind"), "exemplars": ("value", "document"),
        "spaces": ("provenance", "layer", "name"),
    }  # fmt: skip
    for table, columns in places.items():
        for column in columns:
            for value in ("'[1'", "x'ff00'", "'[[1]]'"):
                if value.startswith("'") and column in ("text", "explainer", "kind", "name"):
                    continue
                store = Store(
                    damaged(f"update {table} set {column}={value} where id = (select min(id) from {table})")
                )
                with pytest.raises(UserError, match=r"(?s)damaged.*damaged\.sqlite"):
                    list(store.features("world")), store.catalogue(), store.spaces(), store.texts()
                store.close()


def test_vectors_and_indices_that_are_damaged_are_made_again(
    damaged: Callable[..., Path], tmp_path: Path
) -> None:
    embedder = TfidfEmbedder.fit(list(WORDS))
    nan = np.full(embedder.width, np.nan, dtype="<f4").tobytes().hex()
    for vector in ("zeroblob(8)", "zeroblob(7)", "'text'", "3", f"x'{nan}'"):
        store = Store(damaged(f"update embeddings set vector={vector} where description < 3"))
        if not vector.startswith("x"):
            with pytest.raises(UserError, match="damaged"):
                store.vectors(embedder.name)
        assert Searcher(store, embedder).search("a city in france", 1)[0].text == WORDS[0]
        store.close()
    store = Store(tmp_path / "damaged.sqlite")
    for spoiled in (".ann", ".json"):
        for content in (b"", b"[1]", b"[" * 9999, b"{}"):
            Searcher(store, embedder, index="annoy")
            (file,) = (tmp_path / "damaged.sqlite.annoy").glob(f"*{spoiled}")
            file.write_bytes(content)
            found = Searcher(store, embedder, index="annoy").search("a city in france", 1)
            assert found[0].text == WORDS[0]
    with pytest.raises(UserError, match="needs a folder"):
        Searcher(filled(Store("sqlite://")), embedder, index="annoy")


def test_quantiles_of_a_larger_space_than_the_models_are_said(store: Store) -> None:
    filled(store)
    activations = {"mlp.3": np.zeros((2, 2), dtype=np.float32)}
    with pytest.raises(UserError, match="has 2 features here"):
        filters.BeyondQuantile(activations, "0.99").mask(store, store.catalogue())


def test_what_is_no_plain_file_is_not_opened(exported: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    half = (exported / "store.sqlite").read_bytes()[:5000]
    (tmp_path / "half").write_bytes(half)
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path / "half", exported / "parquet", tmp_path / "loop"):
        for command in (("store", "info", path), ("search", path, "rain")):
            refused(*command)
    long = tmp_path / ("n" * 300)
    for command in (("store", "info", long), ("search", long, "rain"), ("store", "import", "s.sqlite", long)):
        refused(*command)
    beyond = (exported / "store.sqlite" / "s", tmp_path / "a\0b", long)
    for path in ("/proc/none/s.sqlite", "/dev/null", *beyond):
        with pytest.raises(UserError):
            Store(Path(path))


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:secret@h:abc/x", "postgresql://u:secret@127.0.0.1:99999/x", "postgresql+asyncpg://u:secret@h/x",
     "mysql://u:secret@h/x", "postgres://u:secret@h/x", "sqlite+aiosqlite:///x", "postgresql://[::1/x", "://",
     "postgresql://u:secret@127.0.0.1:9/x?nonsense=1"],
)  # fmt: skip
def test_an_url_that_cannot_be_used_is_a_message_without_its_password(url: str) -> None:
    assert "secret" not in refused("store", "info", url)


def test_a_server_that_says_nothing_is_waited_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 2)  # the least that the driver takes
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(UserError, match="cannot be used"):
            Store(f"postgresql://u@127.0.0.1:{port}/x")


def test_without_its_driver_postgresql_is_not_reached_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"psycopg.* is not installed") as error:
        Store("postgresql://h/x")
    assert "interp[postgres]" in error.value.fix


def test_a_terminal_gets_no_control_character_and_no_megabyte(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.put_space(SpaceRow("m\x1b[31m", "mlp.3", "\x07site", 3, 320, True))
    words = DescriptionRow("rain \x1b]0;title\x07\u202e" + "rain " * 400_000, "x")
    store.put("m\x1b[31m", [*rows_of(2), FeatureRow("mlp.3", 9, 1, descriptions=(words,))])
    store.close()
    for command in (
        ("store", "info", tmp_path / "store.sqlite"),
        ("search", tmp_path / "store.sqlite", "rain"),
    ):
        code, said = run(*command)
        assert code == 0
        assert not set(said) & set("\x1b\x07\u202e")
        assert len(said) < 5_000
