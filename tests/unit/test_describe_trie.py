"""The trie and its simulator against a matcher that tries every pattern everywhere."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.descriptions import IGNORE, Description, End, PatternTrie
from interp.descriptions.sentence import pattern_sentence
from interp.descriptions.trie import ANY, Path, simulate

TOKENS = st.integers(0, 3)
MIDDLE = st.one_of(TOKENS, st.just(IGNORE), st.just(ANY))
PATHS = st.one_of(
    st.tuples(TOKENS),
    st.builds(
        lambda first, middle, last: (first, *middle, last),
        st.one_of(TOKENS, st.just(IGNORE)),
        st.lists(MIDDLE, max_size=3),
        TOKENS,
    ),
)
TRIES = st.builds(
    PatternTrie,
    st.dictionaries(
        PATHS, st.builds(End, st.floats(-5, 5), st.integers(0, 9), st.integers(0, 9)), max_size=8
    ),
    st.floats(-1, 1),
)
ROWS = st.lists(TOKENS, max_size=12).map(lambda row: np.array(row, dtype=np.int64))


def matches(path: Path, row: list[int], at: int) -> bool:
    if not path:
        return True
    if path[0] == ANY:
        return any(matches(path[1:], row, before) for before in range(at))
    return at >= 0 and path[0] in (IGNORE, row[at]) and matches(path[1:], row, at - 1)


def precedence(path: Path) -> tuple[object, ...]:
    return sum(t >= 0 for t in path), len(path), tuple(min(t, 0) for t in path), path


@given(TRIES, ROWS)
def test_simulation_equals_trying_every_pattern(trie: PatternTrie, row: np.ndarray) -> None:
    expected = []
    for at in range(len(row)):
        found = [path for path in trie.patterns if matches(path, row.tolist(), at)]
        expected.append(trie.patterns[max(found, key=precedence)].value if found else trie.baseline)
    np.testing.assert_array_equal(simulate(trie, row), np.array(expected))


@given(TRIES)
def test_json_restores_a_description_exactly(trie: PatternTrie) -> None:
    description = pattern_sentence(trie, lambda ids: "<&”>".join(str(i) for i in ids), 7)
    restored = Description.from_json(json.loads(json.dumps(description.to_json())))
    assert restored == description


@given(TRIES, ROWS)
def test_a_prediction_depends_on_nothing_that_follows(trie: PatternTrie, row: np.ndarray) -> None:
    whole = simulate(trie, row)
    for end in range(len(row)):
        np.testing.assert_array_equal(simulate(trie, row[:end]), whole[:end])


def test_more_named_tokens_win() -> None:
    trie = PatternTrie({(1,): End(1.0), (1, 2): End(2.0), (1, IGNORE, 3): End(3.0), (1, 2, 3): End(4.0)}, 0.5)
    row = np.array([1, 3, 2, 1, 3, 0, 1, 0, 2, 1])
    expected = [1.0, 0.5, 0.5, 4.0, 0.5, 0.5, 3.0, 0.5, 0.5, 2.0]
    assert simulate(trie, row).tolist() == expected


@pytest.mark.parametrize("path", [(), (1, IGNORE), (ANY, 1), (1, ANY)])
def test_a_pattern_that_says_nothing_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="pattern"):
        PatternTrie({path: End(1.0)})


WORDS = ["the", "over", "bridge", "river", "lake", "\n", " ", "“", "not", " the"]


def said(patterns: dict[Path, float]) -> str:
    trie = PatternTrie({path: End(value, 1, 1) for path, value in patterns.items()})
    return pattern_sentence(trie, lambda ids: " ".join(WORDS[i] for i in ids), 9).text


@pytest.mark.parametrize(
    ("patterns", "sentence"),
    [
        ({(2,): 1.0}, "fires on “bridge”"),
        ({(2,): 1.0, (3,): 0.9, (4,): 0.8}, "fires on “bridge”, “river” and “lake”"),
        (
            {(2,): 0.6, (3,): 0.6, (2, 0, 1): 1.0},
            "fires on “bridge” and “river”, most strongly on “bridge” after “over the”",
        ),
        ({(2,): 1.0, (3,): 0.2}, "fires on “bridge”"),
        ({(2, 0, 1): 1.0, (3, 0, 1): 0.9}, "fires on “bridge” and “river” after “over the”"),
        ({(2, 0): 1.0, (2, 1): 0.9}, "fires on “bridge” after “the” or “over”"),
        ({(2, 0): 0.6, (2, 0, 1): 1.0}, "fires on “bridge” after “the”"),
        ({(2, IGNORE, 8): 1.0}, "fires on “bridge” two tokens after “not”"),
        ({(2, 0, IGNORE, 8): 1.0}, "fires on “bridge” after “not … the”"),
        ({(2, ANY, 8): 1.0}, "fires on “bridge” somewhere after “not”"),
        ({(IGNORE, 0, 1): 1.0}, "fires on any token after “over the”"),
        ({(IGNORE, IGNORE, 8): 1.0}, "fires on the second token after “not”, whatever it is"),
        ({(5,): 1.0, (6,): 0.9}, "fires on “⏎” and “␣”"),
        ({(0,): 1.0, (9, 4): 0.9}, "fires on “the”; also on “␣the” after “lake”"),
        ({}, "never fires on the text it was described from"),
    ],
)
def test_sentences(patterns: dict[Path, float], sentence: str) -> None:
    assert said(patterns) == sentence


def test_many_patterns_are_counted_not_listed() -> None:
    words = [f"w{i}" for i in range(60)]
    show = lambda ids: " ".join(words[i] for i in ids)  # noqa: E731
    alone = PatternTrie({(i,): End(1.0 - i / 100, 1, 1) for i in range(30)})
    assert pattern_sentence(alone, show, 30).text == (
        "fires on many different tokens (30 seen), most strongly on “w0”, “w1” and “w2”"
    )
    shared = PatternTrie({(i, 50 + i % 3, 59): End(1.0 - i / 100, 1, 1) for i in range(20)})
    assert pattern_sentence(shared, show, 20).text == (
        "fires on many tokens (20 seen) somewhere after “w59”, for example “w0”, “w1” and “w2”"
    )
