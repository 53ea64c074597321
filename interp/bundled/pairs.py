"""Pairs of a clean and a corrupted prompt that come with the package: how a model's makers of them are asked.

A pair is `{"clean", "corrupted", "answer", "distractor", "group"}`: two prompts of as many tokens, what
continues the clean one, and what does not (mostly what continues the corrupted one). Each is a word of one
token, or a list of token ids of which each will do.

No two groups share the words that decide an answer: makers first divide those into small sets at random
(`disjoint_sets`), such as two countries or four nouns, and all pairs made of one set are a group. So a
circuit found on some groups can be tested on others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

from interp.errors import UserError

Item = TypeVar("Item")
Asked = tuple[str, str | list[int]]
"""A prompt, and what to look for after it."""
Made = Iterator[tuple[Asked, Asked, str]]
"""The clean prompt with its answer, the corrupted one with the distractor, and the group."""
Maker = Callable[[Random], Made]


def drawn(makers: Mapping[str, Maker], name: str, n: int, seed: int) -> list[dict[str, Any]]:
    """Draws `n` of all the pairs that the maker of this name makes, none twice, the same for the same seed.

    Raises:
        UserError: there is no such maker, or it makes fewer pairs.
    """
    if name not in makers:
        raise UserError(f"there are no pairs for {name!r}", "behaviour", f"use {', '.join(makers)}")
    random = Random(f"pairs {name} {seed}")
    found = [
        {"clean": clean, "corrupted": corrupted, "answer": answer, "distractor": distractor, "group": group}
        for (clean, answer), (corrupted, distractor), group in makers[name](random)
    ]
    if not 0 < n <= len(found):
        raise UserError(
            f"{n} pairs were asked for, of which there are {len(found)}", name, f"ask for 1 to {len(found)}"
        )
    return random.sample(found, n)


def disjoint_sets(items: Sequence[Item], size: int, random: Random) -> list[tuple[Item, ...]]:
    """Random sets of `size` items that share none; what is left over is in no set."""
    order = random.sample(items, len(items))
    return [tuple(order[start : start + size]) for start in range(0, len(order) - size + 1, size)]
