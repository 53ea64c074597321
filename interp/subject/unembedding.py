"""Computes logits of a few positions at a time; those of all are the largest tensor of a pass.

128 texts of 100 tokens have 12,800 positions; over 262,144 words their logits take 13 GB, while the final
norm's output takes 2,560 bytes a position at a width of 640. So a pass keeps the latter, and logits are
computed, measured and dropped block by block.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from interp.subject.backend import Backend
from interp.subject.hooks import unreached

LOGITS_AT_ONCE = 1 << 24
"""Logits of a block: 64 MiB in single precision; a measure makes a few tensors of that size."""
Result = TypeVar("Result")
Measure = Callable[..., tuple[Tensor, ...]]
"""Maps the same rows of some tensors or lists to tensors with one entry for each row."""


def in_blocks(measure: Measure, d_vocab: int, *rows: Tensor | Sequence[Any]) -> tuple[Tensor, ...]:
    """Calls `measure` with blocks of rows (first axes), and joins the results.

    A block's logits are at most `LOGITS_AT_ONCE`, or those of one row. `measure` unembeds its rows and
    returns measures of the logits, never the logits themselves. Zero rows make one empty block.
    """
    step = max(1, LOGITS_AT_ONCE // d_vocab)
    starts = range(0, max(1, len(rows[0])), step)
    measured = [measure(*(each[start : start + step] for each in rows)) for start in starts]
    return tuple(torch.cat(parts) for parts in zip(*measured, strict=True))


def kept_back(backend: Backend, compute: Callable[[], Result]) -> tuple[Tensor, Result]:
    """Runs a pass without unembedding; returns the final norm's output [batch, pos, d_model] and the result.

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
