"""What a running run is doing: noted in a file beside its lock, and read there by other processes."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from interp.errors import UserError
from interp.json_text import read_json
from interp.shape import Shape
from interp.track.files import write_json
from interp.track.lock import beside_lock, holder, is_locked
from interp.track.progress import Advance, Progress
from interp.track.step import Point, kept_points, read_points

EVERY_SECONDS = 1.0
"""How often the file is written at most; work that is done sooner is not noted."""


@dataclass(frozen=True)
class Doing:
    """A task that is open: as `Advance`, with the seconds that it has taken and that are left."""

    what: str
    amount: str
    done: float
    total: float | None
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True)
class Live:
    """A running run: the process that holds its lock and since when, its step, and what that is doing."""

    pid: int | None
    since: str
    step: str | None
    tasks: list[Doing]


_TASKS = Shape[list[Doing]](list[Doing])


class NotedProgress(Progress):
    """Shows what `shown` shows, and notes the open tasks in a file."""

    def __init__(self, shown: Progress, file: Path, every: float | int = EVERY_SECONDS) -> None:
        self.shown, self.file, self.every = shown, file, every
        self._open: list[Advance] = []
        self._told: list[Advance] = []
        self._next = time.monotonic() + every
        self._guard = threading.Lock()

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Open a task; see `Progress.task`."""
        with self.shown.task(description, total, unit) as inner:
            noted = _Noted(inner, self)
            self._open.append(noted)
            try:
                yield noted
            finally:
                self._open.remove(noted)
                self.note(noted in self._told)

    def say(self, line: str) -> None:
        """Print one line of news."""
        self.shown.say(line)

    def note(self, ended: bool = False) -> None:
        """Write the file, unless another thread does, or it was just written and no task of it has ended."""
        if not (ended or time.monotonic() >= self._next) or not self._guard.acquire(blocking=False):
            return
        try:
            self._told = list(self._open)
            tasks = [asdict(_doing(one)) for one in self._told]
            # what the run does must not fail because nobody can be told
            with contextlib.suppress(UserError, OSError):
                write_json(self.file, {"pid": os.getpid(), "tasks": tasks})
        finally:
            self._next = time.monotonic() + self.every
            self._guard.release()


class _Noted(Advance):
    def __init__(self, inner: Advance, owner: NotedProgress) -> None:
        super().__init__(inner.description, inner.total, inner.unit)
        self.inner, self.owner = inner, owner

    def __call__(self, amount: float | int = 1, *, total: int | None = None, note: str | None = None) -> None:
        self.inner(amount, total=total, note=note)
        super().__call__(amount, total=total, note=note)

    def show(self) -> None:
        self.owner.note()


def _doing(task: Advance) -> Doing:
    total = None if task.total is None else float(task.total)
    return Doing(task.label, task.amount, float(task.done), total, task.elapsed, task.seconds_left)


def read_live(runs_dir: Path, name: str) -> Live | None:
    """What the run `name` is doing; None if no process holds its lock."""
    if not is_locked(runs_dir, name):
        return None
    held = holder(runs_dir, name)
    pid = held.get("pid")
    known = isinstance(pid, int) and not isinstance(pid, bool)
    steps = sorted((runs_dir / name / "steps").glob(".*.partial"))
    step = steps[0].name.removeprefix(".").removesuffix(".partial") if steps else None
    tasks = _read_tasks(beside_lock(runs_dir, name, "progress"), pid)
    return Live(pid if known else None, str(held.get("since", "")), step, tasks)


def read_history(folder: Path) -> dict[str, list[Point]]:
    """The points that each step of a run folder has logged so far, finished or not, in order.

    Raises:
        UserError: a history is damaged.
    """
    steps = folder / "steps"
    found = {file.parent.name: read_points(file) for file in sorted(steps.glob("[!.]*/history.jsonl"))}
    for scratch in sorted(steps.glob(".*.scratch")):
        attempts = [read_points(file) for file in sorted(scratch.glob("history.*.jsonl"))]
        name = scratch.name.removeprefix(".").removesuffix(".scratch")
        found.setdefault(name, kept_points(attempts))
    return {name: points for name, points in found.items() if points}


def _read_tasks(file: Path, pid: object) -> list[Doing]:
    try:
        noted = read_json(file, "wait a moment")
        return _TASKS.of(noted.get("tasks", []), str(file), "wait") if noted.get("pid") == pid else []
    except UserError:
        return []
