"""CSV for spreadsheets: texts stay texts, numbers stay numbers, and what was written is read again."""

import csv
import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interp.csv_text import csv_text, unmarked
from interp.outside import whole_characters

FORMULAS = (
    "=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1+1", "＋1", "－1+1", "＠x",
    "=", "'=1", "''-x", "-1 and more", "+", "-",
)  # fmt: skip


def _read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("formula", FORMULAS)
def test_what_begins_as_a_formula_is_marked_as_text_in_heads_and_cells(formula: str) -> None:
    for cells in _read(csv_text([formula, "x"], [["x", formula]])):
        assert sorted(cells) == sorted(["x", f"'{formula}"])
        assert {unmarked(cell) for cell in cells} == {"x", formula}


def test_numbers_stay_numbers_and_what_is_missing_is_empty() -> None:
    row = [-1, -0.5, np.float32(-2.5), np.int64(-3), None, float("nan"), "-4", "+1e-3", "-.5", True]
    assert _read(csv_text(["n"] * 10, [row]))[1] == [
        "-1", "-0.5", "-2.5", "-3", "", "", "-4", "+1e-3", "-.5", "True",
    ]  # fmt: skip


@given(st.text(st.characters() | st.sampled_from("'=+-@\t\r\n,\";\0\u2028\ud800")))
@example("'")
@example("'tis")
def test_every_text_is_read_as_it_was_written(text: str) -> None:
    ((cell, _),) = _read(csv_text(["a", "b"], [[text, 1]]))[1:]
    assert unmarked(cell) == whole_characters(text)[0]
