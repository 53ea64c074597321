"""Forks `interp` commands from a process that has imported everything, so that a hundred take seconds.

`Forge` starts that process and gives it jobs. The forks do all that a command does, from its arguments to the
end of the interpreter. Hash seed and environment are those of the forge: a run that was killed is to be
continued from another one, too, since what depends on the order of a set differs between processes.
"""

import gc
import importlib
import json
import os
import signal
import sqlite3
import sqlite3.dbapi2
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "sqlite3.connect")
BEGINS = ".partial"
"""How the folder ends that a step makes first of all."""
Write = tuple[float, str, str]
"""Seconds since the process began, what it did, and the path below the job's folder."""


@dataclass(frozen=True)
class Job:
    """A command: its `arguments`, and the `folder` that it writes below.

    `dies_in` and `dies_at`: it is killed before this write, counted from 0 since that step began (since the
    process began if no step is named). `full_at`: from this write on, the disk is full. `name`: which of the
    jobs in one folder it is. `at_once`: the interpreter is not taken down at the end, which takes longer than
    a toy. `watched`: what it writes is recorded, which takes as long as writing it.
    """

    arguments: list[str]
    folder: Path
    dies_at: int | None = None
    dies_in: str = ""
    full_at: int | None = None
    name: str = ""
    at_once: bool = False
    watched: bool = True

    @property
    def output(self) -> Path:
        """What the command says."""
        return self.folder.with_name(f"{self.folder.name}.{self.name}output.txt")

    @property
    def record(self) -> Path:
        """What it writes, a line each."""
        return self.folder.with_name(f"{self.folder.name}.{self.name}writes.jsonl")

    def writes(self) -> list[Write]:
        """What it has written so far."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return [tuple(json.loads(line)) for line in lines if line.endswith("]")]


class Forge:
    """A process that forks one job after the other; made by `forge`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, job: Job) -> int:
        """Begin a job; its process id. The first one waits until the forge is ready."""
        for file in (job.output, job.record):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(job), default=str) + "\n")
        self._process.stdin.flush()
        return self._heard()

    def end(self) -> int:
        """The exit code of the job, when it has ended."""
        return self._heard()

    def do(self, job: Job) -> int:
        """Do a job to its end; its exit code."""
        self.start(job)
        return self.end()

    def _heard(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the forge has died"
        return int(line)


@contextmanager
def forge(*modules: str, hash_seed: int = 1, **environment: str) -> Iterator[Forge]:
    """A forge that has imported some modules; the world is loaded once if they open subjects."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.kill_forge", *modules],
        cwd=ROOT,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(hash_seed), "COLUMNS": "200"}
        | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Forge(process)
    finally:
        process.communicate()


class Writes:
    """Counts what a process writes: files opened, renamed, linked, removed, flushed; statements of SQLite."""

    def __init__(self, job: Job) -> None:
        self._job, self._folder = job, str(job.folder)
        self._count: int | None = None if job.dies_in else 0
        self._record = job.record.open("w", buffering=1)
        self._began = time.monotonic()
        self._busy = False
        self._flush: Callable[[Any], None] = os.fsync
        self._connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def watch(self) -> None:
        """Count from now on."""
        sys.addaudithook(self._heard)
        os.fsync = self._flushed
        sqlite3.connect = sqlite3.dbapi2.connect = self._connected  # type: ignore[assignment]

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR) if mode is None else set(mode) & set("wax+"):
                self._at(event, path)
        elif event in WRITES:
            self._at(event, arguments[0])

    def _flushed(self, handle: Any) -> None:
        self._at("fsync", self._folder)
        self._flush(handle)

    def _connected(self, *arguments: Any, **named: Any) -> sqlite3.Connection:
        found = self._connect(*arguments, **named)
        found.set_trace_callback(lambda statement: self._at("sql", self._folder))
        return found

    def _at(self, what: str, path: Any) -> None:
        if self._busy or not isinstance(path, str | os.PathLike) or self._folder not in os.fspath(path):
            return
        job, name = self._job, os.fspath(path).removeprefix(self._folder)
        if what == "os.mkdir" and name.endswith(f"/.{job.dies_in}{BEGINS}"):
            self._count = 0
        self._busy = True
        self._record.write(json.dumps([round(time.monotonic() - self._began, 4), what, name]) + "\n")
        self._busy = False
        if self._count is None:
            return
        if self._count == job.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        full = job.full_at is not None and self._count >= job.full_at
        self._count += 1
        if full and what in ("open", "fsync", "os.mkdir", "os.link"):
            raise OSError(28, os.strerror(28), os.fspath(path))


def _run(job: Job) -> None:
    """The command, in this process, with its output in a file."""
    from interp import cli

    output = os.open(job.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    sys.argv = ["interp", *job.arguments]
    if job.watched:
        Writes(job).watch()
    try:
        cli.main()
    except SystemExit as ended:
        sys.stdout.flush()
        if job.at_once:
            os._exit(ended.code if isinstance(ended.code, int) else 0)
        raise


def _serve(modules: Sequence[str]) -> None:
    for module in ("interp.cli", *modules):
        importlib.import_module(module)
    _one_thread()
    if "experiments.common.job" in sys.modules:
        import interp

        interp.load("world")  # nothing goes backward here: autograd's threads would not be in a fork
    gc.collect()
    gc.freeze()
    while line := sys.stdin.readline():
        child = os.fork()
        if not child:
            _one_thread()  # torch makes its pool of threads anew; two threads at once would fail at it
            given = json.loads(line)
            _run(Job(**given | {"folder": Path(given["folder"])}))
            return
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _one_thread() -> None:
    """A fork has only the thread that forked."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)


if __name__ == "__main__":
    _serve(sys.argv[1:])
