"""CSV that a spreadsheet may open: what begins as a formula does is marked as text."""

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
    """A table as CSV; no value (None, NaN) is an empty cell, half a character becomes U+FFFD.

    A spreadsheet computes a cell that begins with =, +, -, @, a tab or a line end (also in the wide forms of
    East Asian keyboards), and may run what it names: such texts get an apostrophe in front (OWASP, "CSV
    Injection"); `unmarked` takes it off again. Numbers stay numbers.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)  # with its line end, \r\n, both of these are quoted in cells
    writer.writerow([_cell(name) for name in head])
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return whole_characters(buffer.getvalue())[0]


def unmarked(text: str) -> str:
    """A cell that `csv_text` wrote, as it was before."""
    return text[1:] if _MARKED.match(text) else text


def _cell(cell: object) -> object:
    if isinstance(cell, str):
        return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell
    return "" if cell is None or (isinstance(cell, float) and math.isnan(cell)) else cell
