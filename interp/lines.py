"""Files of lines, which only line feeds end, and JSON lines."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from interp.errors import UserError
from interp.json_text import json_object
from interp.outside import MEBIBYTE, open_file, other_encoding, utf8

LONGEST_LINE = 64 * MEBIBYTE


class Line(NamedTuple):
    """A line: its number from 1, its bytes without byte-order mark and line end, and their place in the file.

    `start` and `end` are offsets in bytes; `whole` says whether a line feed ends the line.
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

    U+2028, U+0085, form feeds and the like do not end a line, as in the JSON lines format; a carriage return
    before a line feed belongs to the line end.

    Raises:
        UserError: there is no such plain file, it begins as UTF-16 or UTF-32 text does, or a line is longer
            than 64 MiB.
    """
    with open_file(path, "give a text file") as file:
        begin = number = 0
        while raw := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(raw) > LONGEST_LINE:
                raise UserError(
                    f"the line is longer than {LONGEST_LINE // MEBIBYTE} MiB",
                    f"{path}, line {number}",
                    "give a file of lines, one document a line",
                )
            start, begin = begin, begin + len(raw)
            if number == 1:
                if other := other_encoding(raw):
                    raise UserError(f"{path} is {other} text", str(path), "convert it to UTF-8")
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
        text = utf8(line.content, str(path), line.number)
        if text.strip():
            yield line.number, text


def json_lines(path: Path, fix: str, halves: bool = False) -> Iterator[JsonLine]:
    """The objects of a file with one JSON object a line, empty lines left out.

    `fix` says in an error what a line should be; `halves` lets lone surrogates through, for callers that
    replace them.

    Raises:
        UserError: as `text_lines`, or as `json_object`.
    """
    for number, text in text_lines(path):
        yield JsonLine(json_object(text, str(path), fix, number, halves), f"{path}, line {number}")
