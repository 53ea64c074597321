"""Two halves of some items: one to choose on, one to report on."""

from collections.abc import Sequence

import numpy as np

from interp.errors import UserError


def split_halves(groups: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """The places of two random halves of every group; of a group of odd size the second has one more.

    Raises:
        UserError: no group has two items.
    """
    rng = np.random.default_rng(seed)
    first: set[int] = set()
    for group in dict.fromkeys(groups):
        members = [place for place, own in enumerate(groups) if own == group]
        first.update(members[place] for place in rng.permutation(len(members))[: len(members) // 2])
    if not first:
        raise UserError(
            "there are too few items to choose on one half", "items", "give two of a group or more"
        )
    return sorted(first), [place for place in range(len(groups)) if place not in first]
