"""Values carried from one tokenisation to another."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp.describe.local_model import LocalModel
from interp.describe.simulators.alignment import project
from interp.pydoc import pydoc_folder


@st.composite
def cuts(draw, length: int) -> np.ndarray:
    """Where tokens of a text end; some may be empty, but not the last."""
    inner = draw(st.lists(st.integers(0, length - 1), max_size=length + 3))
    return np.array([*sorted(inner), length], dtype=np.int64)


@st.composite
def two_cuts(draw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    length = draw(st.integers(1, 12))
    ends, onto = draw(cuts(length)), draw(cuts(length))
    values = draw(st.lists(st.floats(0, 10), min_size=len(ends), max_size=len(ends)))
    return np.array(values, dtype=np.float64), ends, onto


def spans(ends: np.ndarray) -> list[set[int]]:
    """The characters of each token; an empty one belongs to the character that follows."""
    starts = [0, *ends[:-1].tolist()]
    return [set(range(a, max(b, a + 1))) for a, b in zip(starts, ends.tolist(), strict=True)]


@given(two_cuts())
def test_each_token_gets_the_largest_value_that_shares_a_character(case):
    values, ends, onto = case
    expected = [
        max(value for value, source in zip(values, spans(ends), strict=True) if source & target)
        for target in spans(onto)
    ]
    np.testing.assert_array_equal(project(values, ends, onto), expected)


@given(two_cuts())
def test_equal_tokens_keep_their_values(case):
    values, ends, _ = case
    whole = np.diff(ends, prepend=0) > 0
    ends, values = ends[whole], values[whole]
    np.testing.assert_array_equal(project(values, ends, ends), values)


@given(two_cuts(), st.floats(0, 10))
def test_a_constant_stays_one(case, constant):
    values, ends, onto = case
    np.testing.assert_array_equal(project(np.full_like(values, constant), ends, onto), constant)


@given(two_cuts())
def test_only_the_order_of_the_values_matters(case):
    values, ends, onto = case
    np.testing.assert_array_equal(project(values**3, ends, onto), project(values, ends, onto) ** 3)


def test_text_that_the_source_does_not_reach_is_zero():
    found = project(np.array([4.0]), np.array([2]), np.array([1, 3, 5]))
    assert found.tolist() == [4.0, 4.0, 0.0]


def test_parts_of_a_character_are_placed_alike_by_tokenizer_and_excerpt():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(pydoc_folder()))
    text = "a 日é b"
    ids, ends = LocalModel(None, tokenizer, "pydoc").encode_with_ends(text)
    assert len(ids) > len(text)  # bytes of the two characters are tokens of their own
    starts = [0, *ends[:-1]]
    assert "".join(text[a:b] for a, b in zip(starts, ends, strict=True)) == text
    assert all(text[a:b] in ("", tokenizer.decode([i])) or "\N{REPLACEMENT CHARACTER}" in tokenizer.decode([i])
               for a, b, i in zip(starts, ends, ids, strict=True))  # fmt: skip
    for place in range(len(ids)):  # whichever part of 日 fires, 日 fires and its neighbours do not
        values = np.zeros(len(ids))
        values[place] = 7.0
        by_character = project(values, np.array(ends), np.arange(1, len(text) + 1))
        covered = next(
            c for c in range(len(text)) if starts[place] <= c < max(ends[place], starts[place] + 1)
        )
        assert by_character[covered] == 7.0
        assert (by_character > 0).sum() == max(1, ends[place] - starts[place])


def test_no_text_has_no_tokens():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(pydoc_folder()))
    assert LocalModel(None, tokenizer, "pydoc").encode_with_ends("") == ([], [])
