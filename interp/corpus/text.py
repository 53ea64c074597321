"""A corpus from plain text: a list of strings, a text file with one document a line, or JSON lines."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from interp.corpus.document import Document
from interp.corpus.json_lines import json_lines
from interp.errors import UserError


class TextCorpus:
    """Documents given as strings, tokenised when they are read.

    `encode` turns a string into token ids without a beginning-of-sequence token.
    """

    label_names: tuple[str, ...] = ()

    def __init__(
        self, texts: Sequence[str], encode: Callable[[str], Sequence[int]], name: str = "text"
    ) -> None:
        self.name = name
        self._texts = texts
        self._encode = encode

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> Document:
        return Document(np.asarray(self._encode(self._texts[index]), dtype=np.int32))


_FIX = 'write {"text": "..."} on each line'


def read_texts(path: Path) -> list[str]:
    """Reads a `.txt` file (a document a line) or a `.jsonl` file (its `text` key).

    Raises:
        UserError: the file is missing, is not UTF-8, or a line of JSON is malformed or has no text.
    """
    if not path.is_file():
        raise UserError(f"no file {path}", "corpus.path", "give a .txt or .jsonl file")
    if path.suffix == ".jsonl":
        found = []
        for values, place in json_lines(path, _FIX):
            if not isinstance(values.get("text"), str):
                raise UserError('no "text"', place, _FIX)
            found.append(values["text"])
        return found
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason})", "corpus.path", "convert it") from error
    return [line for line in lines if line.strip()]
