"""Logits of a few positions at a time: those of all positions are the largest tensor that a model makes.

128 texts of 100 tokens have 12,800 positions; over 262,144 words their logits take 13 GB, while what is
unembedded takes 2,560 bytes a position at a width of 640. So a pass keeps what is unembedded, and logits are
made, measured and dropped block by block.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from interp.subject.backend import Backend
from interp.subject.hooks import unreached

LOGITS_AT_ONCE = 1 << 24
"""64 MiB in single precision; a measure makes a few tensors of that size."""
Result = TypeVar("Result")
Measure = Callable[..., tuple[Tensor, ...]]
"""From the same rows of some tensors or lists to tensors with one entry for each of these rows."""


def in_blocks(measure: Measure, d_vocab: int, *rows: Tensor | Sequence[Any]) -> tuple[Tensor, ...]:
    """What `measure` gives for all rows (first axes), called with a block of them at a time, joined.

    A block's logits are at most `LOGITS_AT_ONCE`, or those of one row. `measure` unembeds its rows and gives
    what it reads off the logits, never the logits themselves. No rows are one empty block.
    """
    step = max(1, LOGITS_AT_ONCE // d_vocab)
    starts = range(0, max(1, len(rows[0])), step)
    measured = [measure(*(each[start : start + step] for each in rows)) for start in starts]
    return tuple(torch.cat(parts) for parts in zip(*measured, strict=True))


def kept_back(backend: Backend, compute: Callable[[], Result]) -> tuple[Tensor, Result]:
    """What a forward pass would unembed [batch, pos, d_model], and what it gives: logits of no position.

    Raises:
        UserError: the pass never reaches the unembedding.
    """
    kept: list[Tensor] = []

    def keep(normed: Tensor) -> Tensor:
        kept.append(normed)
        return normed[:, :0]

    with backend.before_unembedding(keep):
        result = compute()
    if not kept:
        raise unreached("the unembedding", f"backend {backend.name}")
    return kept[0], result
