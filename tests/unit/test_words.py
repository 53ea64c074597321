"""Whether a text holds words: whole ones, in every script."""

import pytest

from interp.words import holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It is in the US, because of this.", "US"),
        ("the u.s.", "U.S."),
        ("in PARIS.", "Paris"),
        ("Paris's streets", "Paris"),
        ("the  united\nstates of", "United States"),
        ("it is 9 . 11", "9.11"),
        ("Malmo\u0308 is", "malmö"),
        ("STRASSE", "straße"),
        ("这是水。", "水"),
        ("東京都です", "東京"),
        ("서울은 수도이다", "서울"),
        ("在US工作", "US"),
        ("c++ and c", "c"),
        ("aa-aab", "aab"),
    ],
)
def test_whole_words_are_found(text: str, words: str) -> None:
    assert holds(text, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("because", "us"),
        ("the bus, the use", "us"),
        ("19", "9"),
        ("Pariser", "Paris"),
        ("São_Paulo", "Paulo"),
        ("कमी", "कम"),
        ("unsaid", "said"),
        ("anything", " "),
        ("", "a"),
        ("states united", "united states"),
    ],
)
def test_parts_of_words_are_not(text: str, words: str) -> None:
    assert not holds(text, words)
