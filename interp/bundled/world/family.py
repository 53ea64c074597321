"""A family of documents: one way to write them, and what it brings to the world."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from interp.bundled.world.draft import Draft

Write = Callable[[Random, Draft], None]


@dataclass(frozen=True)
class Family:
    """One kind of document.

    `write` fills a draft and uses no randomness but the generator it is given, so that a document is a
    function of its seed and index. `share` is the family's share of tokens, relative to the other families'.
    `concepts` are (name, definition) of concepts that no other family has; while one is active
    (`draft.begin(name)`), every token is labelled with it.
    """

    name: str
    share: float
    write: Write
    concepts: tuple[tuple[str, str], ...] = ()
