"""One process at a time in a run folder; the system releases the lock however the process ends."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

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
    path = _lock_path(runs_dir, name)
    with writing_explained(runs_dir.absolute()):
        lock = FileLock(path, timeout=0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise UserError(
                f"the run {name!r} is being written by another process{_holder(path)}",
                str(runs_dir / name),
                "wait for it, or give this run another name: name=...",
            ) from None
    try:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        remove_leftovers(path.with_suffix(".json"))
        write_json(path.with_suffix(".json"), {"pid": os.getpid(), "since": now})
        yield
    finally:
        path.with_suffix(".json").unlink(missing_ok=True)
        lock.release()


def is_locked(runs_dir: Path, name: str) -> bool:
    """Say whether a process is writing the run `name`."""
    path = _lock_path(runs_dir, name)
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


def _lock_path(runs_dir: Path, name: str) -> Path:
    return runs_dir / ".locks" / f"{name}.lock"


def _holder(path: Path) -> str:
    try:
        holder = read_json(path.with_suffix(".json"), "delete it")
    except UserError:
        return ""
    return f" (pid {holder.get('pid')}, since {holder.get('since')})"
