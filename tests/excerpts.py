"""Excerpts written out by hand, for tests that need no model."""

from collections.abc import Sequence

import numpy as np

from interp.descriptions.evidence import Window
from interp.descriptions.excerpt import Excerpt

Number = float | int


def excerpt(
    pieces: Sequence[str],
    values: Sequence[Number] | None = None,
    counts: Sequence[bool] | None = None,
    number: int = 0,
) -> Excerpt:
    """An excerpt of these pieces; silent, and every token counts, unless said otherwise."""
    n = len(pieces)
    read = np.zeros(n, np.float32) if values is None else np.array(values, dtype=np.float32)
    everywhere = np.ones(n, dtype=np.bool_) if counts is None else np.array(counts, dtype=np.bool_)
    return Excerpt(Window(np.arange(n), read, number, everywhere), tuple(pieces))


def words(text: str, active: str = "", value: Number = 8.0, number: int = 0) -> Excerpt:
    """A token a word with the space before it; the words of `active` have `value`."""
    pieces = [word if i == 0 else f" {word}" for i, word in enumerate(text.split(" "))]
    values = [value if piece.strip() in active.split() else 0.0 for piece in pieces]
    return excerpt(pieces, values, number=number)
