"""CSV that is safe to open in a spreadsheet: texts that look like formulas are marked as text."""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence

from interp.outside import whole_characters

_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
_MARKED = re.compile("'+[=+\\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV; a missing value (None, NaN) is an empty cell, a lone surrogate becomes U+FFFD.

    A spreadsheet computes a cell that begins with =, +, -, @, a tab or a line end (also in their full-width
    forms), and may run what it names: such a text is prefixed with an apostrophe (OWASP, "CSV Injection"),
    which `unmarked` removes. Numbers stay numbers.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)  # its line end is \r\n, so that it quotes cells with either character
    writer.writerow([_cell(name) for name in head])
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return whole_characters(buffer.getvalue())[0]


def unmarked(text: str) -> str:
    """The text of a cell that `csv_text` wrote, without its apostrophe."""
    return text[1:] if _MARKED.match(text) else text


def _cell(cell: object) -> object:
    if isinstance(cell, str):
        return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell
    return "" if cell is None or (isinstance(cell, float) and math.isnan(cell)) else cell
