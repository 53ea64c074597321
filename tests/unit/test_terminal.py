"""Nothing that a model, a file or a description holds is obeyed by a terminal; odd command lines."""

import io
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from pytest import CaptureFixture, MonkeyPatch
from rich.console import Console

from interp.cli import main
from interp.cli.terminal import check_arguments, guard_streams
from interp.config import ExperimentConfig, WandbOptions
from interp.errors import UserError
from interp.llm.ledger import FILE, Call, Ledger
from interp.store.rows import DescriptionRow, FeatureRow, SpaceRow
from interp.store.store import Store
from interp.track.progress import BarProgress, PlainProgress, silent
from interp.track.run import open_run
from tests.command_line import command
from tests.integration.toy_runs import environment
from tests.parity.subject_folders import save_model

HOSTILE = "\x1b[2J\x1b]0;title\x07 \r\x08\x7f \x9b31m \u202e\u2066 [bold red]loud[/bold red]"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _held(text: str) -> None:
    """It is shown, as escapes, and markup in it as it was written."""
    assert "\\x1b[2J" in text and "[bold red]loud[/bold red]" in text
    assert not OBEYED.search(text)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    config = ExperimentConfig(experiment="toy", wandb=WandbOptions(mode="disabled"))
    with open_run(config, "hostile", tmp_path / "runs", progress=silent()) as run:
        run.step("draw", lambda step: step.metric(f"name {HOSTILE}", HOSTILE, headline=True))
        ledger = Ledger(run.folder / FILE)
        ledger.record(Call("now", HOSTILE, HOSTILE, HOSTILE, "chat", 1, 1, 0.0, 1.0, 0, "answered"))
    (run.folder / "config.yaml").write_text(json.dumps({"experiment": "toy", "purpose": HOSTILE}))
    return tmp_path / "runs"


@pytest.mark.parametrize("asked", ["runs", "show hostile", "cost hostile"])
def test_what_a_run_holds_is_not_obeyed(runs: Path, asked: str) -> None:
    done = command(*asked.split(), "--runs-dir", str(runs))
    assert done.exit_code == 0
    _held(done.output)


def test_what_is_wrong_with_a_run_is_not_obeyed(runs: Path) -> None:
    path = runs / "hostile" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": HOSTILE}))
    done = command("show", "hostile", "--runs-dir", str(runs))
    assert done.exit_code == 2
    _held(done.output)


def test_what_a_store_holds_is_not_obeyed(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store.sqlite"))
    store.put_space(SpaceRow(HOSTILE, HOSTILE, HOSTILE, 3, 320, True))
    store.put(HOSTILE, [FeatureRow(HOSTILE, 1, 1, descriptions=(DescriptionRow(f"rain {HOSTILE}", "p"),))])
    store.close()
    for asked in (["search", store.where, "rain"], ["store", "info", store.where]):
        done = command(*asked)
        assert done.exit_code == 0, done.output
        _held(done.output)


def test_the_purpose_of_a_config_is_not_obeyed(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "a.yaml").write_text(f"experiment: toy\npurpose: {json.dumps(HOSTILE)}\n")
    monkeypatch.chdir(tmp_path)
    _held(command("configs").output)


def test_what_a_model_writes_is_not_obeyed(tmp_path: Path) -> None:
    """A random model of bytes writes some that are controls."""
    save_model("llama", tmp_path / "model")
    asked = ["generate", "a", "-m", str(tmp_path / "model"), "-n", "60", "--temperature", "2", "--no-check"]
    done = command(*asked)
    assert done.exit_code == 0, done.output
    assert re.search(r"\\x[0189]", done.output) and not OBEYED.search(done.output)


def test_progress_is_not_obeyed() -> None:
    stream = io.StringIO()
    plain = PlainProgress(stream, every=0.0)  # type: ignore[arg-type]
    plain.say(HOSTILE)
    with plain.task(HOSTILE, 2) as advance:
        advance(1, note=HOSTILE)
    for line in stream.getvalue().splitlines():
        _held(line)
    drawn = io.StringIO()
    bars = BarProgress(Console(file=drawn, force_terminal=True, width=200, color_system=None))
    bars.say(HOSTILE)
    _held(drawn.getvalue())
    with bars.task(HOSTILE, 2) as advance:
        advance(1)
    for planted in ("\x1b[2J", "\x1b]0", "\x07", "\x9b", "\u202e"):
        assert planted not in drawn.getvalue()


def test_what_libraries_say_is_not_obeyed(monkeypatch: MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    factory = logging.getLogRecordFactory()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("some library")
    logger.addHandler(handler)
    try:
        guard_streams()
        logger.warning("read %s", HOSTILE)
        stream.write(warnings.formatwarning(HOSTILE, UserWarning, "file", 1))  # type: ignore[arg-type]
    finally:
        logging.setLogRecordFactory(factory)
        logger.removeHandler(handler)
    assert stream.getvalue().count("[bold red]") >= 2
    _held(stream.getvalue())


@pytest.mark.parametrize("argument", ["a\udcffb", "a\x1b[31mb", "a\x9bb", "a\x7f", "\x00"])
@pytest.mark.parametrize(
    "asked",
    ["run", "run toy", "show", "cost", "search", "generate", "bench", "store info", "runs --runs-dir"],
)
def test_an_argument_that_cannot_be_printed_is_refused(
    tmp_path: Path, monkeypatch: MonkeyPatch, asked: str, argument: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(*asked.split(), argument)
    assert done.exit_code == 2 and not OBEYED.search(done.output)
    assert [line.split(":")[0].strip() for line in done.output.splitlines()] == ["error", "where", "fix"]
    assert not os.listdir(tmp_path)


def test_line_ends_tabs_and_every_language_may_stand_in_arguments() -> None:
    check_arguments(["a\tb\r\nc", "größe 日本 🙂 שלום\u200f"])
    with pytest.raises(UserError, match="not UTF-8"):
        check_arguments(["fine", "\udcff"])


@pytest.mark.parametrize("asked", ["run", "show", "cost", "bench", "store info"])
def test_a_name_that_is_too_long_is_cut_in_the_message(
    tmp_path: Path, monkeypatch: MonkeyPatch, asked: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(*asked.split(), "a" * 5000)
    assert done.exit_code == 2 and done.output.startswith("error: there is no ")
    assert len(done.output) < 2000 and not os.listdir(tmp_path)


def test_a_bug_is_shown_without_what_a_terminal_would_obey(
    monkeypatch: MonkeyPatch, capsys: CaptureFixture[str]
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError(HOSTILE)

    monkeypatch.setattr("interp.track.listing.list_runs", broken)
    monkeypatch.setattr("interp.cli.guard_streams", lambda: None)
    monkeypatch.setattr(sys, "argv", ["interp", "runs"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    _held(capsys.readouterr().err)


def test_an_output_that_is_closed_full_or_knows_few_letters_is_no_bug(tmp_path: Path) -> None:
    """In one process each: closed, full, and ASCII with a run whose purpose is not."""
    config = ExperimentConfig(experiment="toy", wandb=WandbOptions(mode="disabled"))
    with open_run(config, "toy", tmp_path / "runs", progress=silent()) as run:
        run.step("draw", lambda step: step.metric("größe", 1))
    plain = environment(PYTHONIOENCODING="ascii")
    for ending, code, says in ((">&-", 0, ""), (">/dev/full", 2, "no room"), ("", 0, "gr\\xf6\\xdfe 1")):
        call = f"{sys.executable} -m interp.cli runs {ending}"
        done = subprocess.run(call, shell=True, cwd=tmp_path, env=plain, capture_output=True, text=True)
        assert done.returncode == code and says in done.stdout + done.stderr, done.stderr
        assert "Traceback" not in done.stderr
