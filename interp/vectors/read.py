"""Reading activations at the ends of prompts: one padded pass for every site and position."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.intervene.activations import activation_shape
from interp.subject.site import Site
from interp.subject.subject import Subject

Tokens = Sequence[int]


def read_at(
    subject: Subject,
    prompts: Sequence[Tokens],
    sites: Sequence[Site],
    positions: Sequence[int] = (-1,),
    prompts_per_batch: int = 64,
) -> dict[Site, Float[Tensor, "prompt position *width"]]:
    """Activations of every prompt at positions counted from its end, in single precision.

    `prompts` are token ids without a beginning-of-sequence token. Prompts of like length share a batch,
    padded on the left; nothing behind the last site is computed, logits least of all.

    Raises:
        UserError: there is no prompt, or a position is not counted from the end or lies before a prompt.
    """
    if not prompts:
        raise UserError("there is no prompt", "prompts", "give at least one")
    shortest = min(map(len, prompts)) + (subject.bos_id is not None)
    for position in positions:
        if not -shortest <= position < 0:
            raise UserError(
                f"position {position} cannot be read in a prompt of {shortest} tokens",
                "position",
                f"count from the end, -1 to {-shortest}",
            )
    found = {
        site: torch.empty(len(prompts), len(positions), *activation_shape(subject, site)) for site in sites
    }
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for start in range(0, len(order), prompts_per_batch):
        places = order[start : start + prompts_per_batch]
        tokens, mask = subject.pad([prompts[place] for place in places])
        columns = [tokens.shape[1] + position for position in positions]

        def keeper(site: Site, places: list[int] = places, columns: list[int] = columns) -> "_Keep":
            return _Keep(found[site], places, columns)

        subject.visit(tokens, {site: keeper(site) for site in sites}, mask if (mask == 0).any() else None)
    return found


class _Keep:
    """Copies some columns of an activation to some rows of a table."""

    def __init__(self, table: Tensor, rows: list[int], columns: list[int]) -> None:
        self.table, self.rows, self.columns = table, rows, columns

    def __call__(self, activation: Tensor) -> None:
        self.table[self.rows] = activation[:, self.columns].float().cpu()
