"""Tokens of many documents on disk, each written once and read in any order."""

import os
import tempfile
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interp.track.files import writing_explained


class TokenFile:
    """Token ids and masks of documents 0 to `documents` - 1, in a file that is deleted with the process.

    Memory holds two numbers a document. A masked token is stored as its complement, which is negative.

    Raises:
        UserError: the disk of `folder` (the system's folder for temporary files if left out) is full.
    """

    def __init__(self, documents: int, folder: Path | None = None) -> None:
        self._folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._file = tempfile.TemporaryFile(prefix="interp-tokens-", dir=folder)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._start = np.full(documents, -1, dtype=np.int64)
        self._length = np.zeros(documents, dtype=np.int32)
        self._end = 0

    def __reduce__(self) -> tuple[type["TokenFile"], tuple[int]]:
        """Gives another process a file of its own, in which nothing is written yet."""
        return TokenFile, (len(self._start),)

    def __contains__(self, document: int) -> bool:
        """Whether the document was written."""
        return bool(self._start[document] >= 0)

    def write(self, document: int, tokens: NDArray[np.int32], masked: NDArray[np.bool_] | None) -> None:
        """Write a document's tokens [pos] and which of them are masked [pos]."""
        stored = tokens if masked is None else np.where(masked, ~tokens, tokens)
        with writing_explained(self._folder):
            left = memoryview(stored.astype(np.int32).tobytes())
            place = 4 * self._end
            while left:
                written = os.pwrite(self._file.fileno(), left, place)
                left, place = left[written:], place + written
        self._start[document], self._length[document] = self._end, len(tokens)
        self._end += len(tokens)

    def read(self, document: int) -> tuple[NDArray[np.int32], NDArray[np.bool_] | None]:
        """A document's tokens [pos] and which of them are masked [pos], None where none is."""
        size, place = 4 * int(self._length[document]), 4 * int(self._start[document])
        tokens = np.frombuffer(bytearray(os.pread(self._file.fileno(), size, place)), dtype=np.int32)
        masked = tokens < 0
        if not masked.any():
            return tokens, None
        return np.where(masked, ~tokens, tokens), masked
