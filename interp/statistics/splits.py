"""Splits of items into parts that share no content, such as one to choose on and one to report on.

One request in several wordings, or with other capitals, is one content and is never in two parts.
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
    """A text without case, punctuation and spaces; one of punctuation alone stays as it is."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def split_halves(
    groups: Sequence[str], seed: int, contents: Sequence[Hashable] | None = None, larger_first: bool = False
) -> tuple[list[int], list[int]]:
    """The indices of two random halves of every group: one to choose on, one to report on.

    Of a group of odd size the second half has one more, or with `larger_first` the first.

    Items of equal `contents`, such as questions about one entity, go to one half together; they count once,
    in the group of the first of them. Without `contents` each item has its own.

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
    """The items in random order in three parts: those that vectors are made of, chosen on, and reported on.

    Items of equal `contents` stay together; without `contents` each item has its own.
    """
    first, both = (round(share * len(items)) for share in (PARTS[0], PARTS[0] + PARTS[1]))
    own = range(len(items)) if contents is None else contents
    made, chosen, report = _cut(items, own, (first, both - first), random)
    return made, chosen, report


def split_sizes(
    items: Sequence[Item], contents: Sequence[Hashable], sizes: Sequence[int], random: Random, rest: bool
) -> tuple[tuple[Item, ...], ...]:
    """Random parts of these sizes that share no content and, with `rest`, the items of all other contents.

    Without `rest` all contents are spread over the parts in proportion to the sizes, and items are drawn from
    them. A part is smaller than asked for if there are too few contents.
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
    """Fills parts with whole contents in random order until each has its size; the rest comes last."""
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
