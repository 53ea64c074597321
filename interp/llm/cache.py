"""Answers kept on disk, so that the same question is paid for once."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.errors import UserError
from interp.json_text import from_json
from interp.track.files import writing_explained

FORMAT = 1
PATIENCE_SECONDS = 60.0
"""How long to wait for another process that writes."""
_TABLE = "create table if not exists answers (key text primary key, answer text not null)"
_GET = "select answer from answers where key = ?"
_PUT = "insert or replace into answers values (?, ?)"


class Cache:
    """A SQLite file of answers by the hash of everything that decides them.

    Several processes may use one file at a time; what was put survives a kill.

    Raises:
        UserError: the file is damaged, or not one of ours.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with writing_explained(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    self._database = _opened(file)
                    return
                except sqlite3.DatabaseError as error:
                    # while another process creates the file, SQLite refuses at once instead of waiting
                    if "locked" not in str(error) or time.monotonic() > deadline:
                        raise self._unreadable(error) from error
                time.sleep(0.02)

    def __contains__(self, key: str) -> bool:
        """Whether an answer is stored, readable or not."""
        return self._row(key) is not None

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer as plain JSON values; None if there is none or it cannot be read."""
        row = self._row(key)
        if row is None or not isinstance(row[0], str):
            return None
        try:
            found = from_json(row[0], str(self.file), "")
        except UserError:
            return None
        return found if isinstance(found, dict) else None

    def _row(self, key: str) -> tuple[Any] | None:
        try:
            found: tuple[Any] | None = self._database.execute(_GET, (key,)).fetchone()
            return found
        except sqlite3.DatabaseError as error:
            raise self._unreadable(error) from error

    def put(self, key: str, answer: Any) -> None:
        """Store an answer, which is written as JSON."""
        with writing_explained(self.file.parent):
            try:
                self._database.execute(_PUT, (key, json.dumps(answer, ensure_ascii=True)))
            except sqlite3.DatabaseError as error:
                if "full" in str(error):
                    raise OSError(28, "No space left on device") from error
                if "disk I/O" in str(error):  # a quota, a limit of a file's size, a broken disk
                    raise self._unwritable(error) from error
                raise self._unreadable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _unwritable(self, error: Exception) -> UserError:
        return UserError(
            f"an answer cannot be kept ({error})",
            str(self.file),
            "see to the disk and its quota, then run the same command again; what was kept is there",
        )

    def _unreadable(self, error: Exception) -> UserError:
        if "locked" in str(error):
            return UserError(
                f"the answers kept on disk are held by another process for over {PATIENCE_SECONDS:g} s",
                str(self.file),
                "let the other run go on, then run the same command again",
            )
        return UserError(
            f"the answers kept on disk cannot be read ({error})",
            str(self.file),
            "move the file away; answers are then asked for, and paid for, again",
        )


def _opened(file: Path) -> sqlite3.Connection:
    """A connection that any one thread at a time may use; the file is made if it is not there."""
    database = sqlite3.connect(file, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for statement in ("pragma journal_mode=wal", "pragma synchronous=normal", _TABLE):
            database.execute(statement)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def cache_key(question: Mapping[str, Any]) -> str:
    """The hash of a question, given as plain JSON values, and of the format of the answers."""
    text = json.dumps([FORMAT, question], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
