"""Results of many similar pieces of work, saved one by one: a killed step continues with the next."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from interp.errors import UserError
from interp.json_text import from_json, to_json
from interp.lines import lines
from interp.outside import open_file
from interp.track.files import writing_explained

_FIX = "delete that line to have its piece done again, or the file to have all of them"


class Journal:
    """A file of JSON lines, one for each finished piece, by its key.

    `done` are the results; memory holds only where each is in the file. Without a file it holds their text.

    A line that a kill or a full disk cut short is dropped before the next one is added, and its piece is done
    again.

    Raises:
        UserError: a complete line is damaged; nothing is dropped.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._places: dict[str, tuple[int, int]] = {}
        self._texts: dict[str, str] = {}
        self._end = 0
        self.done: Mapping[str, Any] = _Texts(self._texts) if file is None else _Lines(file, self._places)
        if file is None or not os.path.lexists(file):
            return
        for line in lines(file):
            if not line.whole:
                break
            key, _ = _read(line.content, file, line.number)
            self._end = line.end + 1  # JSON holds no carriage return that is not escaped
            self._places[key] = line.start, line.end
        with writing_explained(file.parent):
            os.truncate(file, self._end)

    def add(self, key: str, value: Any) -> None:
        """Keep the result of one piece, as plain JSON values; it is on the disk when this returns.

        Raises:
            UserError: the system refuses it.
        """
        line = to_json([key, value], ensure_ascii=True)
        if self.file is None:
            self._texts[key] = line
            return
        with writing_explained(self.file.parent), self.file.open("ab") as file:
            if file.tell() > self._end:
                file.truncate(self._end)
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._places[key] = self._end, self._end + len(line)
        self._end += len(line) + 1


class _Texts(Mapping[str, Any]):
    """Results by key, of which each is read anew from its line."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __getitem__(self, key: str) -> Any:
        return json.loads(self._texts[key])[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


class _Lines(Mapping[str, Any]):
    """The same, with the lines left in a file, which must not change meanwhile but for what is added."""

    def __init__(self, file: Path, places: Mapping[str, tuple[int, int]]) -> None:
        self._file, self._places = file, places

    def __getitem__(self, key: str) -> Any:
        start, end = self._places[key]
        with open_file(self._file, _FIX) as file:
            file.seek(start)
            return _read(file.read(end - start), self._file)[1]

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _read(content: bytes, file: Path, number: int = 1) -> tuple[str, Any]:
    piece = from_json(content, str(file), _FIX, line=number)
    if not isinstance(piece, list) or len(piece) != 2 or not isinstance(piece[0], str):
        raise UserError("the line is not a key with its result", f"{file}, line {number}", _FIX)
    return piece[0], piece[1]
