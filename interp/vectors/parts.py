"""The three parts of all examples: to make a vector of, to choose by, to report on."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

Item = TypeVar("Item")
PARTS = (0.4, 0.2, 0.4)
"""Shares of the examples."""


def dealt(
    items: Sequence[Item], random: Random
) -> tuple[tuple[Item, ...], tuple[Item, ...], tuple[Item, ...]]:
    """The items in random order, in three parts: what vectors are made of, chosen on, and reported on."""
    drawn = random.sample(list(items), len(items))
    made, chosen = (round(share * len(drawn)) for share in (PARTS[0], PARTS[0] + PARTS[1]))
    return tuple(drawn[:made]), tuple(drawn[made:chosen]), tuple(drawn[chosen:])
