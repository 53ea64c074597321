"""A corpus from plain text: a list of strings, a text file with one document a line, or JSON lines."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from interp.corpus.document import Document
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


def read_texts(path: Path) -> list[str]:
    """Reads a `.txt` file (a document a line) or a `.jsonl` file (its `text` key).

    Raises:
        UserError: the file is missing, is not UTF-8, or a line of JSON is malformed or has no text.
    """
    if not path.is_file():
        raise UserError(f"no file {path}", "corpus.path", "give a .txt or .jsonl file")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason})", "corpus.path", "convert it") from error
    if path.suffix != ".jsonl":
        return [line for line in lines if line.strip()]
    texts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"not JSON: {error.msg}", f"{path}, line {number}", "mend the line") from error
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise UserError('no "text"', f"{path}, line {number}", 'write {"text": "..."} on each line')
        texts.append(record["text"])
    return texts
