"""Files with one JSON object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from interp.errors import UserError


class JsonLine(NamedTuple):
    """The object of a line, and the line as an error should name it."""

    values: dict[str, Any]
    place: str


def json_lines(path: Path, fix: str) -> Iterator[JsonLine]:
    """The objects of a file, empty lines left out; `fix` says in an error what a line should be.

    Raises:
        UserError: there is no such file, it is not UTF-8, or a line is no JSON object.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"no file {path}", "path", "give a .jsonl file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason})", "path", "convert it") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            values = json.loads(line)
        except ValueError:
            raise UserError("the line is not JSON", place, fix) from None
        if not isinstance(values, dict):
            raise UserError("the line is no JSON object", place, fix)
        yield JsonLine(values, place)
