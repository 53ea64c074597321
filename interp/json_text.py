"""JSON that every parser reads: written without NaN and infinity, and read within limits."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, overload

from interp.errors import UserError, quoted
from interp.outside import LARGEST_FILE, position, read_file, utf8

DEEPEST = 100
"""Nested levels of lists and objects: more than any file we read has, less than Python's recursion limit."""
LARGEST_WHOLE, SMALLEST_WHOLE = 2**64 - 1, -(2**63)
Root = TypeVar("Root", dict[str, Any], list[Any])
_STRING = r'"(?:[^"\\]++|\\.)*+(?:"|\Z)'
_STRINGS = re.compile(_STRING, re.DOTALL)
_NO_BRACKETS = re.compile(r"[^\[\]{}]++")
_INNERMOST = re.compile(r"(?:\[\]|\{\})++")
_NUMBER = r"-?\d[\d.eE+-]*+"
_WORD = r"-?[A-Za-z]++"
_TOKENS = re.compile(rf"(?P<string>{_STRING})|(?P<number>{_NUMBER})|(?P<word>{_WORD})|[\[{{\]}}]", re.DOTALL)
_SUSPECT = tuple(
    re.compile(pattern)
    for pattern in (
        "NaN|Infinity", r"(?<!\d)\d{19}", r"[eE]\+?\d{3}", r"\\u[dD][89a-fA-F]", "[\ud800-\udfff]"
    )
)  # fmt: skip
"""Five searches are faster than one with five alternatives."""
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\[^u]")
_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}|[\ud800-\udfff]")


_AS_IT_IS = frozenset({str, int, bool, type(None)})


def to_json(content: Any, **options: Any) -> str:
    """`content` as JSON text; numbers that are not finite become null. `options` as for `json.dumps`."""
    return json.dumps(finite(content), allow_nan=False, **options)


def finite(content: Any) -> Any:
    """Return `content` as plain JSON values: numpy's and torch's unpacked, not-finite numbers made None."""
    kind = type(content)
    if kind is float:
        return content if math.isfinite(content) else None
    if kind in _AS_IT_IS:
        return content
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple | set | frozenset):
        return [finite(value) for value in content]
    if hasattr(content, "tolist"):
        return finite(content.tolist())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Path):
        return str(content)
    return content


def each_string(content: Any, change: Callable[[str], str]) -> Any:
    """Applies `change` to every string in plain JSON values, names too."""
    if isinstance(content, str):
        return change(content)
    if isinstance(content, dict):
        return {change(name): each_string(value, change) for name, value in content.items()}
    if isinstance(content, list):
        return [each_string(value, change) for value in content]
    return content


def from_json(
    content: str | bytes,
    place: str,
    fix: str,
    *,
    line: int = 1,
    halves: bool = False,
    most_bytes: int = LARGEST_FILE,
) -> Any:
    """Parses a JSON text from outside; every value that it gives can be written again.

    `place` and `fix` are for the message; `line` is the number of the text's first line there. `halves` lets
    lone surrogates through, for callers that replace them.

    Raises:
        UserError: it is larger than `most_bytes`, deeper than 100 levels, not UTF-8, not JSON, or holds NaN,
            an infinity, a whole number of more than 64 bits or a lone surrogate; says line and column.
    """
    if len(content) > most_bytes:
        raise UserError(f"the JSON is larger than {most_bytes:,} bytes", place, fix)
    text = utf8(content, place, line) if isinstance(content, bytes) else content
    if any(pattern.search(text) for pattern in _SUSPECT) or _too_deep(text):
        _check_tokens(text, place, fix, line, halves)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = position(place, text[: error.pos], line)
        raise UserError(f"not valid JSON ({error.msg})", where, fix) from None


@overload
def read_json(path: Path, fix: str, kind: Literal["object"] = ...) -> dict[str, Any]: ...
@overload
def read_json(path: Path, fix: str, kind: Literal["list"]) -> list[Any]: ...
@overload
def read_json(path: Path, fix: str, kind: Literal["any"]) -> Any: ...
def read_json(path: Path, fix: str, kind: Literal["object", "list", "any"] = "object") -> Any:
    """Reads a JSON file from outside whose top-level value is of the given `kind`.

    Raises:
        UserError: as `read_file` and `from_json`, or it is of another kind.
    """
    found = from_json(read_file(path, fix), str(path), fix)
    expected = {"object": dict, "list": list, "any": object}[kind]
    if not isinstance(found, expected):
        raise UserError(f"the file holds no JSON {kind}", str(path), fix)
    return found


def json_object(
    content: str | bytes, place: str, fix: str, line: int | None = None, halves: bool = False
) -> dict[str, Any]:
    """Parses a text that is one JSON object; `line` is its number if it is a line of a file.

    Raises:
        UserError: as `from_json`, or it is something else.
    """
    found = from_json(content, place, fix, line=line or 1, halves=halves)
    if not isinstance(found, dict):
        if line is None:
            raise UserError("this is no JSON object", place, fix)
        raise UserError("the line is no JSON object", f"{place}, line {line}", fix)
    return cast(dict[str, Any], found)


def _too_deep(text: str) -> bool:
    """Whether brackets may be nested deeper than is allowed; unmatched ones count as nested."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    brackets = _NO_BRACKETS.sub("", _STRINGS.sub("", text))
    for _ in range(DEEPEST):
        before, brackets = brackets, _INNERMOST.sub("", brackets)
        if len(brackets) == len(before):
            break
    return bool(brackets)


def _check_tokens(text: str, place: str, fix: str, line: int, halves: bool) -> None:
    """Refuse what `json.loads` takes and we do not, and say at which line and column."""
    depth = 0
    for found in _TOKENS.finditer(text):
        token, wrong = found[0], ""
        if token in "[{":
            depth += 1
            wrong = f"the JSON is deeper than {DEEPEST} levels" if depth > DEEPEST else ""
        elif token in "]}":
            depth -= 1
        elif found["word"]:
            wrong = f"{token} is not a number in JSON" if token.lstrip("-") in ("NaN", "Infinity") else ""
        elif found["number"]:
            wrong = "" if _can_be_kept(token) else f"the number {quoted(token)} is too large"
        elif not halves and _HALF.search(_PAIR.sub("", token)):
            wrong = "the text holds half a character (a lone surrogate)"
        if wrong:
            raise UserError(wrong, position(place, text[: found.start()], line), fix)


def _can_be_kept(number: str) -> bool:
    """Whether a number fits 64 bits; true for text that is not a number, which `json.loads` refuses."""
    try:
        if number.lstrip("-").isdecimal():
            return len(number) <= 21 and SMALLEST_WHOLE <= int(number) <= LARGEST_WHOLE
        return math.isfinite(float(number))
    except ValueError:
        return True
