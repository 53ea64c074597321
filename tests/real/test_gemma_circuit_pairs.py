"""The pairs for Gemma 3 270M are in step by its tokens, and it is right on them."""

import pytest

from interp.bundled.gemma import pairs as gemma_pairs
from interp.subject import Subject
from tests.circuit_pairs import opened, told

MEASURED = {
    "agreement": (0.90, 0.85),
    "capital": (0.98, 0.98),
    "greater_than": (0.98, 0.85),
    "indirect_object": (0.98, 0.0),
}
"""Least shares of clean prompts that prefer the answer and of corrupted ones that prefer the distractor.

On 192 pairs of seed 0, with 95% Wilson intervals: agreement .974 [.940, .989] and .948 [.907, .971]; capital
1 [.980, 1] and 1; greater_than 1 and .948 [.907, .971]; indirect_object 1 and .464 [.394, .534], since its
corrupted prompts favour neither name. Mean differences: 2.96 and -2.78; 12.57 and -12.36; 3.92 and -1.05;
5.22 and .05 [-.11, .20].
"""


@pytest.mark.parametrize("name", gemma_pairs.BEHAVIOURS)
def test_pairs_differ_in_one_token(name: str, gemma: Subject) -> None:
    found = opened(gemma, gemma_pairs.pairs(name, 300, 0))  # refuses several tokens and different lengths
    assert set((found.clean.tokens != found.corrupted.tokens).sum(1).tolist()) == {1}


def test_every_capital_country_name_and_noun_is_one_token(gemma: Subject) -> None:
    for name, n in (("capital", 324), ("agreement", 1200), ("indirect_object", 1440)):
        for row in gemma_pairs.pairs(name, n, 1):
            assert len(gemma.continuation(row["clean"], row["answer"]).ids) == 1
            for word in row["group"].split():
                assert len(gemma.encode(f" {word}")) == 1, word


def test_digits_are_gemmas(gemma: Subject) -> None:
    digits = gemma_pairs._data("greater_than")["digits"]
    assert gemma.token_strings(digits) == list(map(str, range(10)))
    assert gemma.encode("1732 to the year 17")[-2:] == [digits[1], digits[7]]


@pytest.mark.parametrize("name", gemma_pairs.BEHAVIOURS)
def test_gemma_is_right_on_its_pairs(name: str, gemma: Subject) -> None:
    found = told(gemma, gemma_pairs.pairs(name, 40, 1))
    for share, least in zip(found.shares(), MEASURED[name], strict=True):
        assert share.value >= least
    clean, corrupted = found.means()
    assert clean.low > 1.5
    if name == "indirect_object":
        assert corrupted.low < 0.5 and corrupted.high > -0.5
    else:
        assert corrupted.high < -0.3
