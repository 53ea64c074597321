"""A text file as documents in random access; memory holds only where each begins."""

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interp.errors import UserError
from interp.json_text import json_object
from interp.lines import lines
from interp.outside import REPLACEMENT, whole_characters
from interp.track.progress import Progress, silent

FIX = 'write {"text": "..."} or {"messages": [{"role": "user", "content": "..."}]} on each line'
Messages = Sequence[Mapping[str, Any]]


class Passage:
    """One document as it was written: plain text, or the messages of a conversation; and where it stands.

    `replaced` counts invalid characters (bytes that are not UTF-8, lone surrogates), which are U+FFFD now.
    """

    def __init__(self, written: str | Messages, place: str, replaced: int = 0) -> None:
        self.place = place
        self.text, self.replaced = "", replaced
        self.messages: Messages | None = None
        if isinstance(written, str):
            self.text, more = whole_characters(written)
            self.replaced += more
            return
        self.messages = []
        for message in written:
            content, more = whole_characters(message.get("content") or "")
            self.messages.append({**message, "content": content})
            self.replaced += more


class TextFile:
    """The documents of a `.txt` file (one a line) or a `.jsonl` file (its `text` or `messages`).

    The file is read once to find where they begin, then one document at a time. It must not change meanwhile.

    Raises:
        UserError: the file is missing or UTF-16, or a line of JSON is malformed or has no text (says which).
    """

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        if not path.is_file():
            raise UserError(f"no file {path}", "corpus.path", "give a .txt or .jsonl file")
        self.path = path
        self._json = path.suffix == ".jsonl"
        self._places = array("q")  # number of the line, start and end in bytes, of each document
        self.holds_conversations = False
        size = path.stat().st_size
        with (progress or silent()).task(f"reading {path.name}", total=size, unit="bytes") as advance:
            for line in lines(path):
                text, _ = _decoded(line.content)
                if text.strip():
                    if self._json:
                        self.holds_conversations |= not isinstance(self._written(text, line.number), str)
                    self._places.extend((line.number, line.start, line.end))
                advance(len(line.content) + 1)

    def __len__(self) -> int:
        return len(self._places) // 3

    def __getitem__(self, index: int) -> Passage:
        """Reads a document from the file."""
        if not 0 <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        number, start, end = self._places[3 * index : 3 * index + 3]
        with self.path.open("rb") as file:
            file.seek(start)
            text, replaced = _decoded(file.read(end - start))
        written = self._written(text, number) if self._json else text
        return Passage(written, f"{self.path}, line {number}", replaced)

    def _written(self, text: str, number: int) -> str | Messages:
        place = f"{self.path}, line {number}"
        values = json_object(text, str(self.path), FIX, number, halves=True)
        if isinstance(found := values.get("text"), str):
            return found
        messages = values.get("messages")
        if not isinstance(messages, list) or not messages:
            raise UserError('no "text" and no "messages"', place, FIX)
        for message in messages:
            role, content = (
                (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
            )
            if not isinstance(role, str) or not isinstance(content, str | None):
                raise UserError("a message has no role, or its content is no text", place, FIX)
        return messages


def _decoded(raw: bytes) -> tuple[str, int]:
    """A line as text, and how many of its characters are not valid UTF-8."""
    try:
        return raw.decode("utf-8"), 0
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "replace")
        return text, text.count(REPLACEMENT) - raw.count(REPLACEMENT.encode())
