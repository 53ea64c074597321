"""Marks around active tokens can be taken out again, whatever the text holds; the threshold steps inwards."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interp.descriptions.explainers.highlight import DISTINCT, SHARES, active, mark, threshold, unmark
from tests.excerpts import excerpt

PIECES = st.lists(st.tuples(st.text("{}\\ a\n日", max_size=4), st.booleans()), max_size=12)


def _spans(pieces: list[tuple[str, bool]]) -> list[tuple[int, int]]:
    """Runs of marked characters without the white space at their ends, character by character.

    A piece without a character is a part of the next one.
    """
    on: list[bool] = []
    text, part = "", False
    for piece, marked in pieces:
        on += [marked or part] * len(piece)
        text += piece
        part = (marked or part) and not piece
    spans, place = [], 0
    while place < len(text):
        end = place
        while end < len(text) and on[end]:
            end += 1
        run = text[place:end]
        if run.strip():
            begun = place + len(run) - len(run.lstrip())
            spans.append((begun, begun + len(run.strip())))
        place = max(end, place + 1)
    return spans


@given(PIECES)
@example([("{{", False), ("a", True)])
@example([("{", False), ("{", True), ("}", True), ("}", False)])
@example([("\\", True), ("{\\", False), ("{", True)])
@example([("}}", True), ("\\\\}", False)])
@example([("", True), ("日", False), ("a", True)])
def test_unmark_takes_out_what_mark_put_in(pieces: list[tuple[str, bool]]) -> None:
    one = excerpt([piece for piece, _ in pieces])
    marked = mark(one, np.array([on for _, on in pieces], dtype=np.bool_))
    assert unmark(marked) == (one.text, _spans(pieces))


@pytest.mark.parametrize(
    ("pieces", "on", "marked"),
    [
        (["to", " Ly", "on", "."], [0, 1, 1, 0], "to {{Lyon}}."),
        (["a", "\n", " b"], [1, 1, 0], "{{a}}\n b"),
        (["a", " ", "b"], [0, 1, 0], "a b"),
        (["f(", "{", "x", "}", ")"], [0, 0, 1, 0, 0], r"f({\{{x}}\})"),
        (["\\frac{", "1", "}{2}"], [0, 1, 0], r"\frac{\{{1}}\}{2}"),
        (["", "", "日", "本"], [0, 1, 0, 0], "{{日}}本"),
        ([], [], ""),
    ],
)
def test_marks_stand_around_runs_and_white_space_stays_outside(
    pieces: list[str], on: list[int], marked: str
) -> None:
    assert mark(excerpt(pieces), np.array(on, dtype=np.bool_)) == marked


def test_the_threshold_steps_inwards_until_three_different_strings_are_marked() -> None:
    shown = [excerpt(["a", " a", "A", " b", "c"], [10, 9.9, 0, 9, 5]), excerpt(["a", " ", "d"], [10, 9, 2])]
    assert threshold(shown, [30.0, 9.5, 8.0, 4.0, 1.0]) == 4, "' a' is no other string, ' ' is none"
    assert threshold(shown, [9.5]) == 5.0, "then shares of the peak: 9 and 7.5 mark two"
    assert threshold(shown) == 5.0
    assert threshold(shown, [1.0]) == 1


def test_the_threshold_falls_no_lower_than_the_last_one_tried() -> None:
    shown = [excerpt(["a", "b", "c"], [10, 9, 8], [True, False, True])] * 2
    assert threshold(shown) == pytest.approx(SHARES[-1] * 10), "a token that does not count is never marked"
    assert threshold(shown, [6.0, 1.0]) == 1
    assert threshold([excerpt(["a", "b"], [-1, 0])], [-2.0]) == float("inf")
    assert threshold([]) == float("inf")


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(-5, 100), min_size=1, max_size=6), max_size=5), st.data())
def test_no_threshold_tried_before_marks_three_strings(rows: list[list[int]], data: st.DataObject) -> None:
    shown = [excerpt([chr(97 + value % 7) for value in row], row) for row in rows]
    levels = sorted(data.draw(st.lists(st.integers(1, 90).map(float), max_size=4)), reverse=True)
    level = threshold(shown, levels)
    assert level > 0

    def strings(at: float) -> int:
        return len({one.pieces[i] for one in shown for i in np.flatnonzero(active(one, at))})

    largest = max((one.peak for one in shown), default=0.0)
    tried = [one for one in levels if one <= largest]
    tried += [share * largest for share in SHARES if share * largest < min(tried, default=101.0)]
    assert all(strings(one) < DISTINCT for one in tried if one > level)
    if strings(level) < DISTINCT:
        assert level == (min(tried) if largest > 0 else float("inf"))
