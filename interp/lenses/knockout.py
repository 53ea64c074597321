"""Attention knockout (Geva et al. 2023, arXiv 2304.14767): positions that may not attend to others."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from interp.errors import UserError
from interp.lenses.prompt_batches import PromptBatch
from interp.subject.subject import Subject


@dataclass(frozen=True)
class Knockout:
    """In these layers, prompt `i`'s `queries[i]` do not attend to its `keys[i]`; nothing else changes.

    Positions are counted from the end of each prompt. The scores are set to the lowest number before the
    softmax, so attention to other positions grows to make up for it. Generated tokens are left alone. A query
    that is left with nothing to attend to (also by a sliding window) is a `UserError` when the prompts run.
    """

    queries: tuple[tuple[int, ...], ...]
    keys: tuple[tuple[int, ...], ...]
    layers: tuple[int, ...]

    @contextmanager
    def on(self, subject: Subject, rows: PromptBatch) -> Iterator[None]:
        """Within the block these prompts run with the attention blocked."""
        with subject.attention_blocked(self.layers, self.blocked(rows)):
            yield

    def blocked(self, rows: PromptBatch) -> Bool[Tensor, "row 1 query key"]:
        """Makes the mask of blocked attention; columns count padding.

        Raises:
            UserError: a position is not in its prompt.
        """
        n_rows, width = rows.tokens.shape
        blocked = torch.zeros(n_rows, 1, width, width, dtype=torch.bool)
        for row, place in enumerate(rows.places):
            length = int(rows.mask[row].sum())
            wrong = [p for p in (*self.queries[place], *self.keys[place]) if not -length <= p < 0]
            if wrong:
                raise UserError(
                    f"position {wrong[0]} is not in a prompt of {length} tokens",
                    "knockout",
                    "count from the end",
                )
            for query in self.queries[place]:
                blocked[row, 0, query, list(self.keys[place])] = True
        return blocked


def window(centre: int, width: int, n_layers: int) -> tuple[int, ...]:
    """The layers no further than `width` from `centre`."""
    return tuple(range(max(0, centre - width), min(n_layers, centre + width + 1)))


def knockout_between(
    queries: Sequence[Sequence[int]], keys: Sequence[Sequence[int]], layers: Sequence[int]
) -> Knockout:
    """Makes a knockout from lists; raises UserError if there are not as many queries as keys."""
    if len(queries) != len(keys):
        raise UserError(
            f"{len(queries)} queries for {len(keys)} keys", "knockout", "give both for each prompt"
        )
    return Knockout(tuple(map(tuple, queries)), tuple(map(tuple, keys)), tuple(layers))
