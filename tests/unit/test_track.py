"""Atomic files, histories across interrupted attempts, progress."""

import errno
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from rich.console import Console
from safetensors.torch import load_file

from interp.config import ExperimentConfig, WandbOptions
from interp.errors import UserError
from interp.track.files import (
    atomic,
    publish,
    write_bytes,
    write_json,
    write_parquet,
    write_safetensors,
    write_text,
    writing_explained,
)
from interp.track.progress import BarProgress, PlainProgress, clock, silent
from interp.track.run import open_run
from interp.track.step import Point, Step


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.float16)}
    write_safetensors(tmp_path / "new" / "t.safetensors", tensors, {"k": "v"})
    loaded = load_file(tmp_path / "new" / "t.safetensors")
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    frame = pd.DataFrame({"x": [1, 2], "words": [["a"], ["b", "c"]]})
    write_parquet(tmp_path / "t.parquet", frame)
    assert pd.read_parquet(tmp_path / "t.parquet")["words"].map(list).tolist() == [["a"], ["b", "c"]]
    write_json(
        tmp_path / "t.json", {"n": np.float32(0.5), "nan": float("nan"), "s": np.int64(3), "p": Path("x")}
    )
    assert json.loads((tmp_path / "t.json").read_text()) == {"n": 0.5, "nan": None, "s": 3, "p": "x"}
    write_text(tmp_path / "t.txt", "größe")
    assert (tmp_path / "t.txt").read_bytes() == "größe".encode()


def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_publishing_again_replaces_and_leaves_no_trace(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "1")
    for content in ("1", "1", "2"):
        if content == "2":
            write_text(tmp_path / "a", content)
        publish(tmp_path / "a", tmp_path / "out" / "b")
        assert (tmp_path / "out" / "b").read_text() == content
        assert os.listdir(tmp_path / "out") == ["b"]


def test_what_a_kill_left_in_any_folder_of_a_run_is_gone_when_it_goes_on(tmp_path: Path) -> None:
    config = ExperimentConfig(experiment="toy", wandb=WandbOptions(mode="disabled"))
    with pytest.raises(KeyboardInterrupt), open_run(config, "toy", tmp_path, progress=silent()) as run:
        raise KeyboardInterrupt
    left = [
        run.folder / ".report.html.abcdefgh.tmp", run.folder / "sae" / ".cfg.json.7.tmp",
        run.folder / "store.sqlite.annoy" / ".0.ann.abcdefgh.tmp",
        run.folder / "steps" / ".train.scratch" / ".checkpoint.safetensors.abcdefgh.tmp",
        tmp_path / ".locks" / ".toy.json.abcdefgh.tmp",
    ]  # fmt: skip
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("half")
    (run.folder / "steps" / ".train.scratch" / ".sae.abcdefgh.tmp").mkdir()
    other = tmp_path / ".locks" / ".toy.json.json.abcdefgh.tmp"  # of a run called toy.json
    other.write_text("half")
    with open_run(config, "toy", tmp_path, progress=silent()):
        assert list(tmp_path.rglob("*.tmp")) == [other]


def test_who_reads_no_further_has_interrupted_the_run_and_a_full_disk_is_said_whoever_writes(
    tmp_path: Path,
) -> None:
    config = ExperimentConfig(experiment="toy", wandb=WandbOptions(mode="disabled"))
    for error, status in ((BrokenPipeError(errno.EPIPE, "gone"), "interrupted"), (_full(), "failed")):
        with (
            pytest.raises((BrokenPipeError, UserError), match=r"gone|no room to write"),
            open_run(config, "toy", tmp_path, progress=silent()),
        ):
            raise error
        manifest = json.loads((tmp_path / "toy" / "manifest.json").read_text())
        assert manifest["status"] == status


def _full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file")


def test_every_writer_explains_that_there_is_no_room(tmp_path: Path) -> None:
    """In a process that may not write files of more than 50 kB."""
    write_text(tmp_path / "x", "old")
    script = f"""
import resource
from pathlib import Path
import numpy as np, pandas as pd, torch
from interp.errors import UserError
from interp.track.files import write_bytes, write_parquet, write_safetensors
path = Path({str(tmp_path)!r}) / "x"
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for write, content in (
    (write_bytes, bytes(100_000)),
    (write_safetensors, dict(a=torch.zeros(100_000))),
    (write_parquet, pd.DataFrame(dict(x=np.random.random(100_000)))),
):
    try:
        write(path, content)
    except UserError as error:
        print(error.thing, error.place, sep="|")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        thing, place = line.split("|")
        assert thing == "no room to write: file too large"
        assert place.startswith(f"{tmp_path} (") and place.endswith("MiB free)")
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_text() == "old"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_every_kind_of_full_disk_is_explained(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(UserError, match="no room to write"), writing_explained(tmp_path / "not" / "there"):
        raise error


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EMFILE])
def test_what_the_system_refuses_is_explained(tmp_path: Path, number: int) -> None:
    with pytest.raises(UserError, match="the system refuses: ") as caught, writing_explained(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))
    assert caught.value.place == str(tmp_path) and os.strerror(number).lower() in caught.value.thing


def test_a_place_where_nothing_can_be_written_is_explained(tmp_path: Path) -> None:
    """A file in the way, a name that is too long, a link to itself, a file system that takes nothing."""
    write_text(tmp_path / "file", "")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in ("file/below", "a" * 300, "loop/below", "/proc/self/fdinfo/below"):
        with pytest.raises(UserError, match="the system refuses: "):
            write_bytes(tmp_path / path, b"")
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]


def test_other_errors_pass_through(tmp_path: Path) -> None:
    for error in (ZeroDivisionError("x"), ConnectionRefusedError(errno.ECONNREFUSED, "no")):
        with pytest.raises(type(error)), writing_explained(tmp_path):
            raise error


class Heard:
    """Remembers what W&B would be told."""

    def __init__(self) -> None:
        self.points: list[tuple[str, int, float]] = []

    def log(self, step: str, point: Point) -> None:
        self.points += [(key, point.at, value) for key, value in point.values.items()]


@given(
    total=st.integers(1, 12),
    every=st.integers(1, 5),
    deaths=st.lists(st.integers(0, 14), max_size=4),
    streams=st.integers(1, 2),
)
def test_a_history_has_every_point_once_however_often_the_step_was_killed(
    tmp_path_factory: pytest.TempPathFactory, total: int, every: int, deaths: list[int], streams: int
) -> None:
    """A step of `streams` phases with a checkpoint at each `every` points, killed after some more points."""
    folder = tmp_path_factory.mktemp("step")
    scratch = folder / "scratch"
    scratch.mkdir()
    checkpoint = 0
    truth = [(f"s{stream}", at) for stream in range(streams) for at in range(total)]
    for budget in [*deaths, None]:
        heard = Heard()
        step = Step("x", folder, scratch, silent(), heard)
        for done, place in enumerate(range(checkpoint, len(truth))):
            if budget is not None and done == budget:
                break
            stream, at = truth[place]
            step.log({stream: at / 2}, at=at)
            if (place + 1) % every == 0:
                checkpoint = place + 1
        else:
            step.finish()
            break
    expected = [(stream, at, at / 2) for stream, at in truth]
    assert sorted(heard.points) == sorted(expected)
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    found = [(key, line["at"], value) for line in lines for key, value in line.items() if key != "at"]
    assert sorted(found) == sorted(expected)


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "history.00000.jsonl").write_text('{"at": 0, "a": 1.0}\n{"at": 1, "a": 2')
    step = Step("x", tmp_path, tmp_path, silent())
    step.log({"a": 2.0}, at=1)
    assert step.history() == [Point(0, {"a": 1.0}), Point(1, {"a": 2.0})]


def test_a_metric_is_set_once_and_is_plain(tmp_path: Path) -> None:
    step = Step("x", tmp_path, tmp_path, silent())
    step.metric("a", torch.tensor(0.5))
    step.metric("b", np.float64("inf"))
    assert step.metrics == {"a": 0.5, "b": None}
    with pytest.raises(ValueError, match="set before"):
        step.metric("a", 1)
    with pytest.raises(TypeError):
        step.metric("c", [1, 2])
    step.estimate("share", 0.5, 0.4, 0.6, headline=True)
    assert (step.metrics["share"], step.metrics["share_low"], step.metrics["share_high"]) == (0.5, 0.4, 0.6)
    assert step.headline == ["share"]


def test_plain_progress_says_what_how_much_and_how_long_still() -> None:
    stream = io.StringIO()
    with PlainProgress(stream, every=0.05).task("collecting", total=4_000, unit="tokens") as advance:
        time.sleep(0.06)
        advance(1_000, note="layer 3")
        advance(1)
    line = stream.getvalue()
    assert line.startswith("collecting (layer 3): 1,000/4,000 tokens (25%), 0 s so far, about 0 s left")
    assert line.count("\n") == 1


def test_bars_show_what_how_much_and_time_and_may_be_nested() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=140)
    bars = BarProgress(console)
    with bars.task("outer [x]", total=2, unit="layers") as outer:
        for _ in range(2):
            with bars.task("inner", total=10, unit="tokens") as inner:
                inner(10)
            outer(1)
        bars.say("news [of] the day")
    drawn = console.file.getvalue()
    for expected in ("outer [x]", "2/2 layers", "inner", "10/10 tokens", "100%", "news [of] the day"):
        assert expected in drawn
    with bars.task("again"):
        pass


@pytest.mark.parametrize("width", [70, 80, 120])
def test_a_narrow_terminal_cuts_the_description_and_never_the_figures(width: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    with BarProgress(console).task(
        "describing a very long list of things", total=250_000, unit="tokens"
    ) as go:
        go(125_000, note="layer 3 of 8")
    last = console.file.getvalue().split("\r")[-1]
    assert "50% 125,000/250,000 tokens 0:00, 0:00 left" in last and "describing" in last


def test_a_bar_is_taken_down_when_the_work_fails() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with pytest.raises(KeyError), BarProgress(console).task("x", total=1):
        raise KeyError
    assert "\x1b[?25h" in console.file.getvalue(), "the cursor stays hidden"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (3720, "1 h 02 min")]
)
def test_durations_read_as_people_write_them(seconds: float, said: str) -> None:
    assert clock(seconds) == said


def test_what_a_run_watches_is_noted_with_every_step_and_never_counted_twice(tmp_path: Path) -> None:
    class Config(BaseModel):
        seed: int = 0

    counts = {"words": 0}

    def more(step: Step) -> None:
        counts["words"] += 2

    with open_run(Config(), "one", tmp_path, progress=silent()) as run:
        run.step("before", more)
        for _ in range(2):  # two corpora in one run
            run.watch("text", lambda: counts)
        run.step("mine", more)
        run.step("score", lambda step: None)
        assert run.watched("text") == {"words": 8} and run.watched("other") == {}
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert metrics == {"text/mine/words": 8, "text/score/words": 8}
