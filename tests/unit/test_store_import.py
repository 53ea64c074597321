"""What a stranger hands to a store is taken whole or not at all, and what it gives it takes again."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text as sql

from interp.errors import UserError
from interp.store.neuronpedia import export_neuronpedia, import_neuronpedia
from interp.store.parquet import COLUMNS, export_parquet, import_parquet
from interp.store.rows import DescriptionRow, ExemplarRow, FeatureRow, ScoreRow, SpaceRow, kept
from interp.store.store import Store
from tests.command_line import largest_file
from tests.stores import exported_store, refused, run

Values = dict[str, Any]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_store(tmp_path_factory.mktemp("exported"))


def _changed(exported: Path, folder: Path, table: str, change: Callable[[list[Values]], object]) -> Path:
    shutil.copytree(exported / "parquet", folder)
    file = folder / f"{table}.parquet"
    rows = pq.read_table(file).to_pylist()
    change(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    pq.write_table(pa.table({name: pa.array([row.get(name) for row in rows]) for name in columns}), file)
    return folder


WRONG_CELLS = [
    ("spaces", {"n_features": -1}, "`n_features` should be greater"),
    ("spaces", {"provenance": "[1]"}, "`provenance`"),
    ("features", {"feature_id": -1}, "`feature_id`"),
    ("features", {"feature_id": 2**62}, "`feature_id`"),
    ("features", {"polarity": 7}, "`polarity` should be 1 or -1"),
    ("features", {"space": "elsewhere"}, "there is no space"),
    ("features", {"rate": float("inf")}, "`rate`"),
    ("features", {"quantiles": '{"0.9": "x"}'}, "`quantiles.0.9`"),
    ("features", {"quantiles": "{"}, "not valid JSON"),
    ("features", {"quantiles": None}, "`quantiles`"),
    ("descriptions", {"provenance": '{"a":' * 1000 + "1" + "}" * 1000}, "deeper than 100"),
    ("descriptions", {"feature_id": 99}, "there is no feature"),
    ("descriptions", {"text": None}, "`text`"),
    ("scores", {"value": float("nan")}, "`value` should be a finite number"),
    ("scores", {"value": float("-inf")}, "`value`"),
    ("scores", {"sample": 7}, "there is no description"),
    ("scores", {"n": -3}, "`n`"),
    ("exemplars", {"value": None}, "`value`"),
    ("exemplars", {"document": 0.5}, "`document`"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "cells", "says"), WRONG_CELLS)
def test_a_wrong_cell_is_named_by_file_and_row_and_nothing_is_made(
    exported: Path, tmp_path: Path, table: str, cells: Values, says: str
) -> None:
    folder = _changed(exported, tmp_path / "in", table, lambda rows: rows[-1].update(cells))
    last = pq.read_table(folder / f"{table}.parquet").num_rows
    said = refused("store", "import", tmp_path / "new.sqlite", folder)
    assert says in said
    assert f"{table}.parquet, row {last}" in said
    assert not list(tmp_path.glob("new.sqlite*"))


@pytest.mark.parametrize("table", COLUMNS)
def test_columns_and_rows_that_do_not_belong_and_damaged_files_are_refused(
    exported: Path, tmp_path: Path, table: str
) -> None:
    def broken(name: str, change: Callable[[list[Values]], object], says: str) -> None:
        folder = _changed(exported, tmp_path / name, table, change)
        assert says in refused("store", "import", tmp_path / "new.sqlite", folder)

    broken("more", lambda rows: rows[0].update(colour="red"), "the column colour")
    broken("fewer", lambda rows: [row.pop(COLUMNS[table][-1]) for row in rows], "no column")
    broken("binary", lambda rows: [row.update({COLUMNS[table][0]: b"\xff"}) for row in rows], "valid string")
    if table != "exemplars":  # of which several may be equal
        broken("twice", lambda rows: rows.extend(rows[:1]), "is there twice")
    file = tmp_path / "binary" / f"{table}.parquet"
    file.write_bytes((exported / "parquet" / f"{table}.parquet").read_bytes()[:-200])
    assert "cannot be read as Parquet" in refused("store", "import", tmp_path / "new.sqlite", file.parent)
    file.unlink()
    assert "no file" in refused("store", "import", tmp_path / "new.sqlite", file.parent)
    assert not list(tmp_path.glob("new.sqlite*"))


LINE = {"modelId": "m", "layer": "l", "index": "3", "description": "d"}
SCORE = {"kind": "a", "scorer": "b", "split": "c", "value": 0.5}
WRONG_LINES: list[Values] = [
    {"modelId": 3}, {"layer": None}, {"index": "x"}, {"index": "-1"}, {"index": 1.5}, {"index": True},
    {"index": "１"}, {"index": "9" * 5000}, {"index": 2**63}, {"description": None}, {"description": ["d"]},
    {"typeName": 1}, {"sample": "0"}, {"sample": -1}, {"chosen": 1}, {"summary": {}}, {"polarity": 7},
    {"frac_nonzero": "0.5"}, {"scores": "many"}, {"scores": ["x"]}, {"scores": [{"kind": 1}]},
    {"scores": [{**SCORE, "colour": 1}]}, {"scores": [{**SCORE, "value": "x"}]}, {"scores": [SCORE, SCORE]},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_LINES, ids=lambda wrong: str(wrong)[:30])
def test_a_wrong_line_is_named_by_file_and_number_and_nothing_is_made(tmp_path: Path, wrong: Values) -> None:
    file = tmp_path / "in" / "explanations" / "batch-0.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(f"{json.dumps(LINE)}\n{json.dumps({**LINE, **wrong})}\n")
    said = refused("store", "import", tmp_path / "new.sqlite", tmp_path / "in")
    assert f"`{next(iter(wrong))}" in said or "score" in said
    assert "batch-0.jsonl, line 2" in said
    assert not list(tmp_path.glob("new.sqlite*"))


def test_half_a_file_what_is_said_twice_and_compressed_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "explanations"
    folder.mkdir(parents=True)
    (folder / "batch-0.jsonl").write_text(json.dumps(LINE) + "\n" + json.dumps(LINE)[:-8])
    assert "batch-0.jsonl, line 2" in refused("store", "import", tmp_path / "s", tmp_path / "in")
    (folder / "batch-0.jsonl").write_text((json.dumps({**LINE, "sample": 1}) + "\n") * 2)
    assert "there twice" in refused("store", "import", tmp_path / "s", tmp_path / "in")
    (folder / "batch-0.jsonl").rename(folder / "batch-0.jsonl.gz")
    assert "gunzip" in refused("store", "import", tmp_path / "s", tmp_path / "in")
    assert not list(tmp_path.glob("s*"))


def test_an_import_that_fails_on_the_way_leaves_a_store_as_it_was(
    store: Store, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_space(SpaceRow("world", "mlp.3", "site of before", 1, 7, True))
    before = store.spaces(), store.counts()
    put = Store._put

    def broken(self: Store, *arguments: Any) -> None:
        put(self, *arguments)
        raise UserError("no room", "disk", "free some")

    monkeypatch.setattr(Store, "_put", broken)
    for read, name in ((import_parquet, "parquet"), (import_neuronpedia, "neuronpedia")):
        with pytest.raises(UserError, match="no room"):
            read(store, exported / name)
        assert (store.spaces(), store.counts()) == before


def test_a_store_that_was_made_for_an_import_that_finds_no_room_is_removed(
    exported: Path, tmp_path: Path
) -> None:
    with largest_file(60_000):  # the empty store is larger
        refused("store", "import", tmp_path / "new.sqlite", exported / "parquet")
    assert not list(tmp_path.iterdir())


anything = st.text(
    st.characters(exclude_categories=()) | st.sampled_from("\0\ud800\u2028\u2029\x85\r\n\"'\\,-"), max_size=8
)
maybe = st.none() | st.floats()
counts = st.integers(0, 2**31 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=5,
)
provenance = st.dictionaries(anything, plain, max_size=2)
scores = st.builds(
    ScoreRow, anything, anything, anything, maybe, maybe, maybe, maybe, maybe, maybe, counts, counts
)
descriptions = st.builds(
    DescriptionRow, anything, anything, counts, anything, st.booleans(), st.none() | st.booleans(), anything,
    provenance,
    st.lists(scores, max_size=2, unique_by=lambda s: (kept(s.kind), kept(s.scorer), kept(s.split)))
    .map(tuple),
)  # fmt: skip
exemplars = st.builds(ExemplarRow, anything, anything, counts, counts, finite, anything, maybe)
features = st.builds(
    FeatureRow, st.sampled_from(["a", "b-negative"]), counts, st.sampled_from([1, -1]), maybe,
    st.dictionaries(anything.map(kept), maybe.map(lambda value: 0.0 if value is None else value), max_size=2),
    st.lists(descriptions, max_size=2, unique_by=lambda d: (kept(d.explainer), d.sample)).map(tuple),
    st.lists(exemplars, max_size=2).map(tuple),
)  # fmt: skip


def _told(rows: Iterator[FeatureRow]) -> list[Any]:
    """What Neuronpedia's format can hold of features."""
    return [
        (
            row.key,
            row.rate,
            [(d.text, d.explainer, d.sample, d.summary, d.chosen, d.scores) for d in row.descriptions],
        )
        for row in rows
    ]


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    subject=anything, site=anything, layer=st.none() | st.integers(0, 99), of=provenance,
    rows=st.lists(features, max_size=3, unique_by=lambda row: (row.space, row.feature_id, row.polarity)),
)  # fmt: skip
def test_what_is_exported_imports_again_whatever_it_holds(
    store: Store,
    tmp_path: Path,
    subject: str,
    site: str,
    layer: int | None,
    of: Values,
    rows: list[FeatureRow],
) -> None:
    with store.engine.begin() as connection:
        connection.execute(sql("delete from spaces"))
    for name in ("a", "b-negative"):
        store.put_space(SpaceRow(subject, name, site, layer, 2**31 - 1, True, of))
    store.put(subject, rows)
    wrote = list(store.features(kept(subject)))
    export_parquet(store, tmp_path / "parquet")
    export_neuronpedia(store, kept(subject), tmp_path / "neuronpedia")
    for name, read in (("parquet", import_parquet), ("neuronpedia", import_neuronpedia)):
        other = Store("sqlite://")
        read(other, tmp_path / name)
        if name == "parquet":
            assert other.spaces() == store.spaces()
            assert list(other.features(kept(subject))) == wrote
        else:
            assert _told(other.features(kept(subject))) == _told(iter(wrote))
        other.close()


def test_what_a_store_cannot_hold_is_refused_when_it_is_put(store: Store) -> None:
    store.put_space(SpaceRow("world", "mlp.3", "", None, 9, True))
    nested: Any = 1
    for _ in range(150):
        nested = [nested]
    for row in (
        FeatureRow("mlp.3", -1, 1),
        FeatureRow("mlp.3", 2**31, 1),
        FeatureRow("mlp.3", 0, 1, exemplars=(ExemplarRow("c", "s", 0, 0, float("nan"), "top"),)),
        FeatureRow("mlp.3", 0, 1, descriptions=(DescriptionRow("t", "e", provenance={"deep": nested}),)),
        FeatureRow("mlp.3", 0, 1, descriptions=(DescriptionRow("t", "e", provenance={"n": 2**70}),)),
    ):
        with pytest.raises(UserError, match=r"(?s)mlp\.3/"):
            store.put("world", [row])
    assert store.counts()["features"] == 0


def test_an_export_replaces_an_earlier_one_whole_and_nothing_else(exported: Path, tmp_path: Path) -> None:
    store, out = exported / "store.sqlite", tmp_path / "out"
    assert run("store", "export", store, out)[0] == 0
    assert run("store", "export", store, out, "--format", "neuronpedia")[0] == 0
    assert sorted(file.name for file in out.iterdir()) == ["activations", "explanations", "features"]
    for mine in ("thesis.txt", "notes.tmp"):
        (out / mine).write_text("mine")
        assert mine in refused("store", "export", store, out)
        assert (out / "features").exists() and (out / mine).exists()
        (out / mine).unlink()
    for place in (store, store / "below", "/proc/none", ".", tmp_path / ("n" * 300)):
        refused("store", "export", store, place)
    of = ("--format", "neuronpedia", "--subject", "y")
    assert "no subject" in refused("store", "export", store, tmp_path / "x", *of)
    with largest_file(1000):  # not enough for the files that SQLite makes beside a store
        assert "make room on its disk" in refused("store", "export", store, tmp_path / "full")
    with Store(store).engine.connect(), largest_file(1000):
        assert "no room" in refused("store", "export", store, tmp_path / "full")
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
