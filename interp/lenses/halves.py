"""Two halves of some items: one to choose on, one to report on."""

from collections.abc import Hashable, Sequence

import numpy as np

from interp.errors import UserError


def split_halves(
    groups: Sequence[str], seed: int, contents: Sequence[Hashable] | None = None
) -> tuple[list[int], list[int]]:
    """The places of two random halves of every group; of a group of odd size the second has one more.

    Items of equal `contents`, such as questions about one entity, stand in one half: that of the first of
    them, in whose group they count once. Without `contents` each item is its own.

    Raises:
        UserError: no group has two items.
    """
    rng = np.random.default_rng(seed)
    own = range(len(groups)) if contents is None else contents
    group_of: dict[Hashable, str] = {}
    for content, group in zip(own, groups, strict=True):
        group_of.setdefault(content, group)
    first: set[Hashable] = set()
    for group in dict.fromkeys(group_of.values()):
        members = [content for content, found in group_of.items() if found == group]
        first.update(members[place] for place in rng.permutation(len(members))[: len(members) // 2])
    if not first:
        raise UserError(
            "there are too few items to choose on one half", "items", "give two of a group or more"
        )
    to_choose = [place for place, content in enumerate(own) if content in first]
    return to_choose, [place for place, content in enumerate(own) if content not in first]
