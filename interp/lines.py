"""Files of lines: a line feed ends a line, and nothing else does; JSON lines; characters that are none."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from interp.errors import UserError

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_OTHER_BOMS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


class Line(NamedTuple):
    """A line: its number from 1, its bytes without byte-order mark and line end, and where they stand.

    `start` and `end` are offsets in the file; `whole` says whether a line feed ends the line.
    """

    number: int
    content: bytes
    start: int
    end: int
    whole: bool


class JsonLine(NamedTuple):
    """The object of a line, and the line as an error should name it."""

    values: dict[str, Any]
    place: str


def lines(path: Path) -> Iterator[Line]:
    """The lines of a UTF-8 file, one at a time.

    U+2028, U+0085, form feeds and the like stand within lines, as the JSON lines format has it; a carriage
    return before a line feed belongs to the line end.

    Raises:
        UserError: there is no such file, or it begins as UTF-16 or UTF-32 text does.
    """
    try:
        file = path.open("rb")
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"no file {path}", "path", "give a text file") from None
    with file:
        begin = 0
        for number, raw in enumerate(file, 1):
            start, begin = begin, begin + len(raw)
            if number == 1:
                if other := next((n for n, boms in _OTHER_BOMS.items() if raw.startswith(boms)), None):
                    raise UserError(f"{path} is {other} text", "path", "convert it to UTF-8")
                start += len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0
            whole = raw.endswith(b"\n")
            end = begin - (raw.endswith(b"\r\n") + 1 if whole else 0)
            yield Line(number, raw[start - begin : len(raw) - (begin - end)], start, end, whole)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers.

    Raises:
        UserError: as `lines`, or a line is not UTF-8 (says which).
    """
    for line in lines(path):
        try:
            text = line.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"the line is not UTF-8 text ({error.reason})", f"{path}, line {line.number}", "convert it"
            ) from error
        if text.strip():
            yield line.number, text


def json_lines(path: Path, fix: str, halves: bool = False) -> Iterator[JsonLine]:
    """The objects of a file with one JSON object a line, empty lines left out.

    `fix` says in an error what a line should be; `halves` lets halves of characters (surrogates) through,
    for who replaces them.

    Raises:
        UserError: as `text_lines`, or a line is no JSON object, or holds half a character.
    """
    for number, text in text_lines(path):
        place = f"{path}, line {number}"
        values = json_object(text, place, fix)
        if not halves and "\\u" in text and whole_characters(json.dumps(values, ensure_ascii=False))[1]:
            raise UserError("the line holds half a character (a lone surrogate)", place, "take it out")
        yield JsonLine(values, place)


def json_object(text: str, place: str, fix: str) -> dict[str, Any]:
    """The JSON object that a line is.

    Raises:
        UserError: it is none.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError("the line is not JSON", place, fix) from None
    if not isinstance(values, dict):
        raise UserError("the line is no JSON object", place, fix)
    return values


def whole_characters(text: str) -> tuple[str, int]:
    """The text with U+FFFD in the place of each half of a character, which no file holds, and how many."""
    try:
        text.encode()
        return text, 0
    except UnicodeEncodeError:
        repaired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return repaired, repaired.count(REPLACEMENT) - text.count(REPLACEMENT)
