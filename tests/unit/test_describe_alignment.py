"""Values carried from one tokenizer's tokens to another's, against a reference that goes by characters."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interp.descriptions.simulators.alignment import project

N = 12
CUTS = st.lists(st.integers(0, N), max_size=10).map(lambda cuts: np.array([*sorted(cuts), N], dtype=np.int64))
STRICT = st.sets(st.integers(1, N - 1)).map(lambda cuts: np.array([*sorted(cuts), N], dtype=np.int64))


def _values(ends: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=len(ends))


def _characters(ends: np.ndarray) -> list[set[int]]:
    """The characters of each token; one of none has that which comes next."""
    starts = [0, *ends[:-1].tolist()]
    return [set(range(a, max(b, a + 1))) for a, b in zip(starts, ends.tolist(), strict=True)]


@given(CUTS, CUTS, st.integers(0, 99))
@example(np.array([0, 0, N]), np.array([N, N]), 0)
@example(np.array([0, 1, N]), np.array([0, N]), 1)
def test_each_token_takes_the_largest_of_those_that_share_a_character(
    ends: np.ndarray, onto: np.ndarray, seed: int
) -> None:
    values, own = _values(ends, seed), _characters(ends)
    expected = [
        max((v for v, chars in zip(values, own, strict=True) if chars & wanted), default=0.0)
        for wanted in _characters(onto)
    ]
    np.testing.assert_array_equal(project(values, ends, onto), expected)


@given(STRICT, st.integers(0, 99))
def test_the_same_tokens_keep_their_values(ends: np.ndarray, seed: int) -> None:
    values = _values(ends, seed)
    np.testing.assert_array_equal(project(values, ends, ends), values)


@given(STRICT, st.integers(0, 99))
def test_to_characters_and_back_changes_nothing(ends: np.ndarray, seed: int) -> None:
    values, each = _values(ends, seed), np.arange(1, N + 1)
    fine = project(values, ends, each)
    np.testing.assert_array_equal(fine, np.repeat(values, np.diff(ends, prepend=0)))
    np.testing.assert_array_equal(project(fine, each, ends), values)


@given(CUTS, CUTS, st.floats(-3, 3))
def test_a_constant_stays_one(ends: np.ndarray, onto: np.ndarray, value: float) -> None:
    found = project(np.full(len(ends), value), ends, onto)
    inside = np.array([0, *onto[:-1]]) < N  # a token after the last character may have nothing to share
    assert (found[inside] == value).all()


@given(STRICT, STRICT, st.integers(0, 99))
def test_the_text_turned_round_turns_the_values_round(ends: np.ndarray, onto: np.ndarray, seed: int) -> None:
    def turned(cuts: np.ndarray) -> np.ndarray:
        return np.append(N - cuts[:-1][::-1], N)

    values = _values(ends, seed)
    round_about = project(values[::-1].copy(), turned(ends), turned(onto))
    np.testing.assert_array_equal(round_about[::-1], project(values, ends, onto))


@pytest.mark.parametrize(
    ("ends", "onto", "values", "expected"),
    [
        ([2, 4, 6], [6], [1, 3, 2], [3]),
        ([6], [2, 4, 6], [5], [5, 5, 5]),
        ([3, 6], [2, 4, 6], [1, 2], [1, 2, 2]),
        ([0, 0, 1], [1], [4, 2, 3], [4]),
        ([1], [0, 0, 1], [4], [4, 4, 4]),
        ([2], [2, 5], [-1], [-1, 0]),
        ([], [2, 5], [], [0, 0]),
        ([2, 5], [], [1, 2], []),
        ([], [], [], []),
    ],
)
def test_worked_examples(ends: list[int], onto: list[int], values: list[int], expected: list[int]) -> None:
    found = project(
        np.array(values, dtype=np.float64), np.array(ends, dtype=np.int64), np.array(onto, dtype=np.int64)
    )
    np.testing.assert_array_equal(found, expected)
