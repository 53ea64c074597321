"""Stops the process that works on a run, politely, and starts one that continues it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from interp.errors import UserError
from interp.track.files import writing_explained
from interp.track.listing import RunSummary, read_run
from interp.track.lock import holder, is_locked, lock_file
from interp.yaml_text import read_yaml

LOG = "output.log"
"""The file of a run's folder that takes what a continuation prints."""
LOG_SHOWN = 4000
"""How many bytes of its end are shown."""
# a process that a background job starts ignores Ctrl-C unless it says otherwise
_ENTRY = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from interp.cli import main; main()"
)


def stop(runs_dir: Path, name: str) -> int:
    """Interrupts the process that works on the run `name`, as Ctrl-C does; returns its number.

    The run ends as it does after Ctrl-C: what is finished is kept, and it can be continued.

    Raises:
        UserError: it is not running, or by a process that cannot be interrupted from here.
    """
    place = str(runs_dir / name)
    if not is_locked(runs_dir, name):
        raise UserError(f"the run {name} is not running", place, "reload to see how it ended")
    pid = holder(runs_dir, name).get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 1:
        raise UserError("the process that works on it has not said which it is", place, "try again")
    fix = "stop it where it was started"
    if pid == os.getpid():
        raise UserError("this server itself works on it", place, fix)
    try:
        if Path("/proc/self/fd").is_dir():  # without /proc, the system still refuses other people's processes
            _check_holds(pid, lock_file(runs_dir, name))
        os.kill(pid, _interrupt_of(pid))
    except ProcessLookupError:
        raise UserError("the process has ended", place, "reload to see how") from None
    except OSError:
        raise UserError("the process that works on it is not one of yours", place, fix) from None
    return pid


def _check_holds(pid: int, lock: Path) -> None:
    """Raises OSError unless the process is this user's and has the lock's file open."""
    process = Path(f"/proc/{pid}")
    if process.stat().st_uid != os.getuid():
        raise PermissionError
    wanted = lock.stat()
    for link in (process / "fd").iterdir():
        try:
            found = link.stat()
        except OSError:  # closed meanwhile, or no file
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return
    raise PermissionError


def _interrupt_of(pid: int) -> signal.Signals:
    """The signal that the process takes as Ctrl-C: one started in the background may take SIGTERM alone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return signal.SIGINT
    masks = {key: int(value, 16) for key, _, value in (line.partition(":") for line in lines)
             if key in ("SigIgn", "SigCgt")}  # fmt: skip
    ignores = masks.get("SigIgn", 0) >> (signal.SIGINT - 1) & 1
    catches = masks.get("SigCgt", 0) >> (signal.SIGTERM - 1) & 1
    return signal.SIGTERM if ignores and catches else signal.SIGINT


class Continuation:
    """Continues runs of a folder in processes of their own, one at a time; they outlive this one."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self._child: subprocess.Popen[bytes] | None = None
        self._name = ""
        self._guard = threading.Lock()

    def start(self, name: str) -> int:
        """Starts `interp run` with the run's own config; returns the process's number.

        Raises:
            UserError: the run is running, finished or has no config of its name; or another continues.
        """
        with self._guard:
            if self._child is not None and self._child.poll() is None:
                fix = "wait until it has ended, or stop it"
                raise UserError(f"the run {self._name} is being continued", str(self.runs_dir / name), fix)
            folder = _continuable(read_run(self.runs_dir / name))
            command = [sys.executable, "-c", _ENTRY, "run", str(folder / "config.yaml")]
            with writing_explained(folder), (folder / LOG).open("ab") as log:
                self._child = subprocess.Popen(
                    [*command, "--runs-dir", str(self.runs_dir.absolute())],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._name = name
            return self._child.pid

    def is_alive(self, name: str) -> bool:
        """Whether a process that was started here still continues the run `name`."""
        return self._name == name and self._child is not None and self._child.poll() is None


def printed(folder: Path) -> str:
    """The end of what continuations of a run printed."""
    try:
        with (folder / LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_SHOWN))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


def _continuable(run: RunSummary) -> Path:
    place = str(run.folder)
    if run.damage is not None:
        raise run.damage
    if run.status == "finished":
        raise UserError("the run is finished", place, "look at its results")
    if is_locked(run.folder.parent, run.name):
        raise UserError("the run is running", place, "stop it first")
    config = run.folder / "config.yaml"
    if not config.is_file():
        raise UserError("its config is not there", str(config), "begin it anew with `interp run`")
    named = read_yaml(config, "begin it anew with `interp run`").get("name")
    if named != run.name:
        raise UserError(f"its config is of the run {named}", str(config), f"name the folder {named}")
    return run.folder.absolute()
