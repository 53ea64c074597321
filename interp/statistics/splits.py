"""Parts of some items that share no content, such as one to choose on and one to report on.

One request in several wordings, or with other capitals, is one content: it never stands in two parts.
"""

import re
from collections.abc import Hashable, Sequence
from random import Random
from typing import TypeVar

import numpy as np

from interp.errors import UserError

Item = TypeVar("Item")
PARTS = (0.4, 0.2, 0.4)
"""Shares of the items in `split_three`."""


def content_of(text: str) -> str:
    """What a text says, whatever its case, punctuation and spaces; a text of signs alone says itself."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def split_halves(
    groups: Sequence[str], seed: int, contents: Sequence[Hashable] | None = None, larger_first: bool = False
) -> tuple[list[int], list[int]]:
    """The places of two random halves of every group: one to choose on, one to report on.

    Of a group of odd size the second has one more, or with `larger_first` the first.

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
        order = rng.permutation(len(members))
        first.update(members[place] for place in (order[::2] if larger_first else order[: len(members) // 2]))
    to_choose = [place for place, content in enumerate(own) if content in first]
    to_report = [place for place, content in enumerate(own) if content not in first]
    if not to_choose or not to_report:
        raise UserError(
            "there are too few items to choose on one half", "items", "give two of a group or more"
        )
    return to_choose, to_report


def split_three(
    items: Sequence[Item], random: Random, contents: Sequence[Hashable] | None = None
) -> tuple[tuple[Item, ...], tuple[Item, ...], tuple[Item, ...]]:
    """The items in random order, in three parts: what vectors are made of, chosen on, and reported on.

    Items of equal `contents` stay together; without them each item is its own.
    """
    first, both = (round(share * len(items)) for share in (PARTS[0], PARTS[0] + PARTS[1]))
    own = range(len(items)) if contents is None else contents
    made, chosen, report = _cut(items, own, (first, both - first), random)
    return made, chosen, report


def split_sizes(
    items: Sequence[Item], contents: Sequence[Hashable], sizes: Sequence[int], random: Random, rest: bool
) -> tuple[tuple[Item, ...], ...]:
    """Parts of these sizes that share no content, and, with `rest`, what shares none with them.

    Without `rest` all contents are spread over the parts, in proportion to the sizes, and items drawn from
    them. A part is smaller than asked for where the contents do not suffice.
    """
    scale = 1.0 if rest else max(1.0, len(items) / sum(sizes))
    parts = _cut(items, contents, [int(scale * size) for size in sizes], random)
    found = [
        tuple(random.sample(part, size)) if len(part) > size else part
        for part, size in zip(parts, sizes, strict=False)
    ]
    return (*found, parts[-1]) if rest else tuple(found)


def _cut(
    items: Sequence[Item], contents: Sequence[Hashable], sizes: Sequence[int], random: Random
) -> list[tuple[Item, ...]]:
    """Contents in random order, a part ending where it has its size or a little more; and what is left."""
    groups: dict[Hashable, list[Item]] = {}
    for item, content in zip(items, contents, strict=True):
        groups.setdefault(content, []).append(item)
    parts: list[list[Item]] = [[] for _ in range(len(sizes) + 1)]
    place = 0
    for group in random.sample(list(groups.values()), len(groups)):
        while place < len(sizes) and len(parts[place]) >= sizes[place]:
            place += 1
        parts[place] += group
    return [tuple(part) for part in parts]


def evenly_spaced(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly spaced from the first to the last."""
    if len(items) <= most:
        return list(items)
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int)]
