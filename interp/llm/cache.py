"""Answers kept on disk, so that the same question is paid for once."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.errors import UserError
from interp.track.files import full_disk_explained

FORMAT = 1
_TABLE = "create table if not exists answers (key text primary key, answer text not null)"
_PUT = "insert or replace into answers values (?, ?)"


class Cache:
    """A SQLite file of answers by the hash of everything that decides them.

    Several processes may use one file at a time; a kill loses nothing that was put.

    Raises:
        UserError: the file is damaged, or not one of ours.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with full_disk_explained(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._database = sqlite3.connect(file, timeout=60, isolation_level=None)
                self._database.execute("pragma journal_mode=wal")
                self._database.execute("pragma synchronous=normal")
                self._database.execute(_TABLE)
            except sqlite3.DatabaseError as error:
                raise self._unreadable(error) from error

    def get(self, key: str) -> Any | None:
        """The answer, as plain JSON values, or None."""
        try:
            row = self._database.execute("select answer from answers where key = ?", (key,)).fetchone()
            return None if row is None else json.loads(row[0])
        except (sqlite3.DatabaseError, ValueError) as error:
            raise self._unreadable(error) from error

    def put(self, key: str, answer: Any) -> None:
        """Keep an answer."""
        with full_disk_explained(self.file.parent):
            try:
                self._database.execute(_PUT, (key, json.dumps(answer, ensure_ascii=True)))
            except sqlite3.DatabaseError as error:
                if "full" in str(error):
                    raise OSError(28, "No space left on device") from error
                raise self._unreadable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(
            f"the answers kept on disk cannot be read ({error})",
            str(self.file),
            "move the file away; answers are then asked for, and paid for, again",
        )


def cache_key(question: Mapping[str, Any]) -> str:
    """The hash of a question, given as plain JSON values, and of the format of the answers."""
    text = json.dumps([FORMAT, question], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
