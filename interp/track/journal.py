"""Results of many like pieces of work, kept one by one: a killed step continues with the next piece."""

import json
import os
from pathlib import Path
from typing import Any

from interp.json_text import to_json
from interp.lines import lines
from interp.track.files import writing_explained


class Journal:
    """A file of JSON lines, one for each finished piece, by its key.

    A line that a kill cut short is dropped when the file is opened again, so that piece is done again.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.done: dict[str, Any] = {}
        whole = 0
        if file.exists():
            for line in lines(file):
                try:
                    key, value = json.loads(line.content)
                except ValueError:
                    break
                if not line.whole:
                    break
                self.done[key] = value
                whole = line.end + 1  # JSON holds no carriage return that is not escaped
            os.truncate(file, whole)

    def add(self, key: str, value: Any) -> None:
        """Keep the result of one piece, as plain JSON values; it is on the disk when this returns.

        Raises:
            UserError: the disk is full.
        """
        line = to_json([key, value], ensure_ascii=True) + "\n"
        with writing_explained(self.file.parent), self.file.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.done[key] = json.loads(line)[1]
