"""Files that come from outside: plain files of bounded size, text that is UTF-8."""

import codecs
import stat
from pathlib import Path
from typing import BinaryIO

from interp.errors import UserError

MEBIBYTE = 2**20
LARGEST_FILE = 512 * MEBIBYTE
"""Bytes; more than the largest tokenizer or table of descriptions that we know of."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_OTHER_BOMS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


def open_file(path: Path, fix: str) -> BinaryIO:
    """Opens a plain file for reading; a device or a pipe, which may never end, is refused.

    Raises:
        UserError: there is none, it is no plain file, or it may not be read.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "is a folder" if stat.S_ISDIR(mode) else "is no plain file (a device, a pipe or a socket)"
            raise UserError(f"{path} {what}", str(path), fix)
        return path.open("rb")
    except FileNotFoundError:
        raise UserError(f"no file {path}", str(path.absolute()), fix) from None
    except (OSError, ValueError) as error:  # ValueError: a name with NUL
        raise UserError(f"{path} cannot be read ({_reason(error)})", str(path), fix) from None


def read_file(path: Path, fix: str, most_bytes: int = LARGEST_FILE) -> bytes:
    """All of a file's bytes.

    Raises:
        UserError: as `open_file`, or it is larger than `most_bytes`.
    """
    with open_file(path, fix) as file:
        try:
            content = file.read(most_bytes + 1)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({_reason(error)})", str(path), fix) from None
    if len(content) > most_bytes:
        raise UserError(f"{path} is larger than {most_bytes / MEBIBYTE:,.4g} MiB", str(path), fix)
    return content


def utf8(content: bytes, place: str, line: int = 1) -> str:
    """Decodes UTF-8, without a byte-order mark; `line` is the number of the first line, for the message.

    Raises:
        UserError: they are not UTF-8; says where.
    """
    if line == 1 and (other := other_encoding(content)):
        raise UserError(f"{place} is {other} text", place, "convert it to UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start + len(content) - len(error.object)]
        raise UserError(
            f"not UTF-8 text ({error.reason})",
            position(place, before.decode("utf-8", "replace"), line),
            "convert it to UTF-8",
        ) from None


def other_encoding(content: bytes) -> str | None:
    """The encoding whose byte-order mark `content` begins with, if it is not UTF-8."""
    return next((name for name, boms in _OTHER_BOMS.items() if content.startswith(boms)), None)


def position(place: str, before: str, line: int = 1) -> str:
    """The place in a text that follows `before`, in words: "file, line 3, column 7"."""
    return f"{place}, line {line + before.count(chr(10))}, column {len(before) - before.rfind(chr(10))}"


def whole_characters(text: str) -> tuple[str, int]:
    """The text with each lone surrogate, which no file can hold, replaced by U+FFFD; and their number."""
    try:
        text.encode()
        return text, 0
    except UnicodeEncodeError:
        repaired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return repaired, repaired.count(REPLACEMENT) - text.count(REPLACEMENT)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
