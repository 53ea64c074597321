"""Damaged run folders: named, listed beside the others, never written over."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from interp.config import ExperimentConfig, WandbOptions
from interp.errors import UserError
from interp.fields import LONGEST_NAME
from interp.track.journal import Journal
from interp.track.progress import silent
from interp.track.run import Run, open_run
from interp.track.step import Step, read_points
from tests.command_line import command

CONFIG = ExperimentConfig(experiment="toy", wandb=WandbOptions(mode="disabled"))
Damage = Callable[[Path], object]


def _draw(step: Step) -> None:
    step.metric("draw/mean", 1.5, headline=True)
    step.table("numbers", pd.DataFrame({"x": [1, 2]}))
    step.log({"loss": 1.0}, at=0)


def _work(runs: Path, name: str, **options: bool) -> Run:
    with open_run(CONFIG, name, runs, progress=silent(), **options) as run:
        run.step("draw", _draw)
        assert len(run.table("numbers")) == 2
        if name == "half":
            raise KeyboardInterrupt
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run and one that was stopped."""
    runs = tmp_path_factory.mktemp("runs")
    _work(runs, "whole")
    with pytest.raises(KeyboardInterrupt):
        _work(runs, "half")
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _file(name: str, content: bytes) -> Damage:
    return lambda run: (run / name).write_bytes(content)


def _field(name: str, key: str, value: Any) -> Damage:
    def damage(run: Path) -> None:
        content = json.loads((run / name).read_text())
        *parents, last = key.split(".")
        inner = content
        for part in parents:
            inner = inner[int(part)] if part.isdigit() else inner[part]
        inner[last] = value
        (run / name).write_text(json.dumps(content))

    return damage


def _instead(name: str, make: Callable[[Path], object]) -> Damage:
    def damage(run: Path) -> None:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return damage


RECORDS = ("manifest.json", "config.yaml", "steps/draw/step.json")
WRONG = {
    **{
        f"{name} {what}": (name, _file(name, content))
        for name in RECORDS
        for what, content in {
            "empty": b"", "a list": b"[]", "null": b"null", "cut": b'{"a": [', "no text": b"\xff\xfe\x00",
            "deep": b"[" * 5000, "a huge number": b'{"a": ' + b"9" * 5000 + b"}",
        }.items()
    },
    **{f"{name} a folder": (name, _instead(name, Path.mkdir)) for name in RECORDS},
    **{f"{name} a pipe": (name, _instead(name, os.mkfifo)) for name in RECORDS},
    **{f"{name} a link": (name, _instead(name, lambda path: path.symlink_to("/no"))) for name in RECORDS},
    **{
        f"manifest {key} {value!r}": ("manifest.json", _field("manifest.json", key, value))
        for key, value in (
            ("status", "odd"), ("status", 3), ("started", "yesterday"), ("started", None), ("sessions", []),
            ("sessions", {}), ("sessions", [3]), ("sessions.0.versions", None), ("sessions.0.git", "x"),
            ("finished", 3), ("experiment", []), ("version", 99), ("version", "x"),
        )
    },
    **{
        f"step {key} {value!r}": ("steps/draw/step.json", _field("steps/draw/step.json", key, value))
        for key, value in (
            ("order", "x"), ("metrics", []), ("metrics", {"a": [1]}), ("headline", ["nowhere"]),
            ("headline", None), ("seconds", "x"), ("step", "other"), ("files", {"x": 3}),
        )
    },
    "steps a file": ("steps", _instead("steps", Path.touch)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "name"), [(case, ("whole", "half")[place % 2]) for place, case in enumerate(WRONG)]
)
def test_a_damaged_run_is_named_and_neither_hides_others_nor_is_written_over(
    runs: Path, case: str, name: str
) -> None:
    where, damage = WRONG[case]
    damage(runs / name)
    before = _content(runs / name)
    listed = command("runs", "--runs-dir", str(runs))
    assert listed.exit_code == 0
    by_name = {line.split()[0]: line for line in listed.output.splitlines() if not line.startswith(" ")}
    assert "unreadable" in by_name[name]
    assert "draw/mean 1.5" in by_name["half" if name == "whole" else "whole"]
    shown = command("show", name, "--runs-dir", str(runs))
    assert shown.exit_code == 2 and where in shown.output and "fix:" in shown.output
    assert command("cost", name, "--runs-dir", str(runs)).exit_code == 0
    with pytest.raises(UserError) as caught:
        _work(runs, name)
    assert where in caught.value.place
    assert _content(runs / name) == before


def test_a_manifest_of_a_newer_version_says_so(runs: Path) -> None:
    _field("manifest.json", "version", 2)(runs / "whole")
    with pytest.raises(UserError, match="version 2; this program knows up to 1"):
        _work(runs, "whole")


def test_a_run_of_an_older_version_and_keys_of_another_are_read(runs: Path) -> None:
    for name, key in (("manifest.json", "version"), ("steps/draw/step.json", "files")):
        content = json.loads((runs / "whole" / name).read_text())
        del content[key]
        (runs / "whole" / name).write_text(json.dumps(content | {"of another version": [1]}))
    assert _work(runs, "whole").metrics == {"draw/mean": 1.5}
    assert "finished" in command("show", "whole", "--runs-dir", str(runs)).output


@pytest.mark.parametrize("name", ["tables/numbers.parquet", "history.jsonl"])
@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"[]\n", b'{"a": 1}\n'])
def test_a_file_that_a_step_did_not_leave_so_names_the_step_to_do_again(
    runs: Path, name: str, content: bytes | None
) -> None:
    step = runs / "half" / "steps" / "draw"
    (step / name).unlink() if content is None else (step / name).write_bytes(content)
    with pytest.raises(UserError, match=r"delete the folder .*steps/draw to have that step done again"):
        _work(runs, "half")
    shutil.rmtree(step)
    with pytest.raises(KeyboardInterrupt):
        _work(runs, "half")


def test_a_table_that_is_missing_or_damaged_names_its_step(runs: Path) -> None:
    with open_run(CONFIG, "whole", runs, progress=silent()) as run:
        run.step("draw", _draw)
        file = runs / "whole" / "tables" / "numbers.parquet"
        file.write_bytes(b"no table")
        with pytest.raises(UserError, match="cannot be read as Parquet") as caught:
            run.table("numbers")
        assert "steps/draw to have that step done again" in caught.value.fix
        assert run.has_table("numbers") and not run.has_table("letters")
        with pytest.raises(UserError, match="no file"):
            run.table("letters")


@pytest.mark.parametrize("name", ["steps", "tables", "steps/draw", "report.html"])
def test_a_link_out_of_a_run_folder_is_not_written_through(runs: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".mine.tmp").write_text("mine")
    path = runs / "half" / name
    if path.is_dir():
        shutil.rmtree(path)
    path.symlink_to(outside)
    with pytest.raises(UserError, match="a link that leads out of the run folder"):
        _work(runs, "half")
    assert os.listdir(outside) == [".mine.tmp"]


def test_a_damaged_note_of_who_holds_the_lock_says_nothing(runs: Path) -> None:
    with open_run(CONFIG, "third", runs, progress=silent()):
        for content in ("[]", "{", '{"pid": []}'):
            (runs / ".locks" / "third.json").write_text(content)
            with pytest.raises(UserError, match="is being written by another process"):
                _work(runs, "third")


@pytest.mark.parametrize("line", [b"[]", b"null", b'{"a": 1}', b'{"at": "x"}', b'{"at": 1, "a": [2]}', b"{"])
def test_a_damaged_point_of_a_history_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "history.jsonl"
    file.write_bytes(b'{"at": 0, "a": 1.0}\n' + line + b"\n")
    with pytest.raises(UserError) as caught:
        read_points(file)
    assert f"{file}, line 2" in caught.value.place


@pytest.mark.parametrize("line", [b"[]", b"null", b'["a"]', b"[1, 2]", b'{"a": 1}', b'["a", ', b"\x00\x00"])
def test_a_damaged_line_of_a_journal_is_named_and_nothing_is_dropped(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "done.jsonl"
    Journal(file).add("one", 1)
    whole = file.read_bytes() + line + b'\n["three", 3]\n'
    file.write_bytes(whole)
    with pytest.raises(UserError) as caught:
        Journal(file)
    assert f"{file}, line 2" in caught.value.place and file.read_bytes() == whole


def test_names_of_runs_leave_room_for_what_is_put_around_them(tmp_path: Path) -> None:
    _work(tmp_path, "a" * LONGEST_NAME)
    _work(tmp_path, "a" * LONGEST_NAME, fresh=True)
    for name in ("a" * (LONGEST_NAME + 1), "a" * 5000, "a\0b", "a\x1b[31m", "a\udcff", "a/b", "..", ""):
        with pytest.raises(UserError, match="cannot be the name of a run") as caught:
            _work(tmp_path, name)
        assert len(str(caught.value)) < 600 and str(caught.value).replace("\n", "").isprintable()
    assert sorted(os.listdir(tmp_path)) == [".locks", ".old", "a" * LONGEST_NAME]


def test_a_runs_folder_in_which_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for runs in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/runs"), tmp_path / ("a" * 300)):
        with pytest.raises(UserError, match="the system refuses: ") as caught:
            _work(runs, "whole")
        assert "--runs-dir" in caught.value.fix
        for asked in ("runs", "show whole", "cost whole"):
            found = command(*asked.split(), "--runs-dir", str(runs))
            assert found.exit_code in (0, 2) and "no run" in found.output, found.output
    assert os.listdir(tmp_path) == ["file"]
