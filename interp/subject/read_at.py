"""Reads activations at chosen tokens of prompts: one padded pass for all sites and positions."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject

Tokens = Sequence[int]


def read_at(
    subject: Subject,
    prompts: Sequence[Tokens],
    sites: Sequence[Site],
    positions: Sequence[int] | Int[Tensor, "prompt position"] = (-1,),
    prompts_per_batch: int = 64,
) -> dict[Site, Float[Tensor, "prompt position *width"]]:
    """Reads activations of every prompt at positions counted from its end, in single precision.

    `prompts` are token ids without a beginning-of-sequence token; `positions` are the same for all of them,
    or each prompt's own. Prompts of similar length share a batch, padded on the left; nothing after the last
    site is computed, so no logits.

    Raises:
        UserError: there is no prompt, or a position is not counted from the end or lies before a prompt.
    """
    if not prompts:
        raise UserError("there is no prompt", "prompts", "give at least one")
    asked = positions if isinstance(positions, Tensor) else torch.tensor([list(positions)] * len(prompts))
    lengths = torch.tensor([len(subject.with_bos(prompt)) for prompt in prompts])
    wrong = (asked >= 0) | (asked < -lengths[:, None])
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise UserError(
            f"position {int(asked[row, column])} cannot be read in a prompt of {int(lengths[row])} tokens",
            "position",
            f"count from the end, -1 to {-int(lengths[row])}",
        )
    found = {
        site: torch.empty(len(prompts), asked.shape[1], *subject.activation_shape(site)) for site in sites
    }
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for start in range(0, len(order), prompts_per_batch):
        places = order[start : start + prompts_per_batch]
        tokens, mask = subject.pad([prompts[place] for place in places])
        columns = (tokens.shape[1] + asked[places]).to(subject.device)
        keepers = {site: _Keep(found[site], places, columns) for site in sites}
        subject.visit(tokens, keepers, mask)
    return found


@torch.no_grad()
def normed_at_end(
    subject: Subject, prompts: Sequence[Tokens], prompts_per_batch: int = 128
) -> Float[Tensor, "prompt d_model"]:
    """Computes the final norm's output at the last token of each prompt, under active interventions.

    `prompts` are token ids without a beginning-of-sequence token; those of similar length share a batch.
    `interp.subject.unembedding.in_blocks` turns the result into measures of predictions.
    """
    if not prompts:
        return torch.empty(0, subject.d_model, device=subject.device, dtype=subject.dtype)
    parts = []
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for start in range(0, len(order), prompts_per_batch):
        places = order[start : start + prompts_per_batch]
        tokens, mask = subject.pad([prompts[place] for place in places])
        parts.append(subject.normed(tokens, mask)[:, -1])
    return torch.cat(parts)[torch.tensor(order).argsort().to(subject.device)]


class _Keep:
    """Copies the chosen columns of an activation's rows to rows of a table."""

    def __init__(self, table: Tensor, places: list[int], columns: Int[Tensor, "row position"]) -> None:
        self.table, self.places, self.columns = table, places, columns

    def __call__(self, activation: Tensor) -> None:
        rows = torch.arange(len(self.places), device=activation.device)[:, None]
        self.table[self.places] = activation[rows, self.columns].float().cpu()
