"""Results of many similar pieces of work, saved one by one: a killed step continues with the next."""

import json
import os
from pathlib import Path
from typing import Any

from interp.errors import UserError
from interp.json_text import from_json, to_json
from interp.lines import lines
from interp.track.files import writing_explained


class Journal:
    """A file of JSON lines, one for each finished piece, by its key.

    Without a file, results are kept in memory only.

    A line that a kill cut short is dropped when the file is opened again, and its piece is done again.

    Raises:
        UserError: a complete line is damaged; nothing is dropped.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.done: dict[str, Any] = {}
        if file is None or not os.path.lexists(file):
            return
        end = 0
        fix = "delete that line to have its piece done again, or the file to have all of them"
        for line in lines(file):
            if not line.whole:
                break
            place = f"{file}, line {line.number}"
            piece = from_json(line.content, str(file), fix, line=line.number)
            if not isinstance(piece, list) or len(piece) != 2 or not isinstance(piece[0], str):
                raise UserError("the line is not a key with its result", place, fix)
            self.done[piece[0]] = piece[1]
            end = line.end + 1  # JSON holds no carriage return that is not escaped
        with writing_explained(file.parent):
            os.truncate(file, end)

    def add(self, key: str, value: Any) -> None:
        """Keep the result of one piece, as plain JSON values; it is on the disk when this returns.

        Raises:
            UserError: the system refuses it.
        """
        line = to_json([key, value], ensure_ascii=True) + "\n"
        if self.file is not None:
            with writing_explained(self.file.parent), self.file.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        self.done[key] = json.loads(line)[1]
