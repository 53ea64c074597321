"""One process at a time in a run folder; the system releases the lock however the process ends."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from interp.errors import UserError
from interp.json_text import read_json
from interp.track.files import remove_leftovers, write_json, writing_explained


@contextmanager
def locked(runs_dir: Path, name: str) -> Iterator[None]:
    """Hold the lock of the run `name`; the file is beside the folder, as that may be moved.

    Raises:
        UserError: another process holds it (says which and since when), or runs_dir cannot be written.
    """
    path = lock_file(runs_dir, name)
    with writing_explained(runs_dir.absolute()):
        lock = FileLock(path, timeout=0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise UserError(
                f"the run {name!r} is being written by another process{_said(runs_dir, name)}",
                str(runs_dir / name),
                "wait for it, or give this run another name: name=...",
            ) from None
    try:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        progress = beside_lock(runs_dir, name, "progress")
        progress.unlink(missing_ok=True)
        remove_leftovers(progress)
        remove_leftovers(path.with_suffix(".json"))
        write_json(path.with_suffix(".json"), {"pid": os.getpid(), "since": now})
        yield
    finally:
        path.with_suffix(".json").unlink(missing_ok=True)
        beside_lock(runs_dir, name, "progress").unlink(missing_ok=True)
        lock.release()


def is_locked(runs_dir: Path, name: str) -> bool:
    """Say whether a process is writing the run `name`."""
    path = lock_file(runs_dir, name)
    if not os.path.exists(path):
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError as error:
        return error.errno != errno.EROFS  # on a read-only file system nobody can hold it
    lock.release()
    return False


def holder(runs_dir: Path, name: str) -> dict[str, Any]:
    """The process that holds the lock (`pid`, `since`), as it says itself; empty if nothing is said."""
    try:
        return read_json(lock_file(runs_dir, name).with_suffix(".json"), "delete it")
    except UserError:
        return {}


def beside_lock(runs_dir: Path, name: str, kind: str) -> Path:
    """A file about the run `name` that is there only while its lock is held."""
    return runs_dir / ".locks" / f"{name}.{kind}"


def lock_file(runs_dir: Path, name: str) -> Path:
    """The file that a process holds open while it writes the run `name`."""
    return runs_dir / ".locks" / f"{name}.lock"


def _said(runs_dir: Path, name: str) -> str:
    held = holder(runs_dir, name)
    return f" (pid {held.get('pid')}, since {held.get('since')})" if held else ""
