"""The context of a hook: which tokens an activation belongs to, and their positions in the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.subject.site import Site


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """One forward pass over some tokens, perhaps after others whose keys and values are cached.

    `tokens` [batch, seen] are all tokens so far, `real` [batch, seen] is false at padding. The activations of
    the pass belong to the columns from `start` on. The first `prompt_length` columns are the prompt, padded
    on the left; the others were generated, or are scored as if they had been. A `start` inside the prompt
    means that its beginning was kept from another text.
    """

    tokens: Int[Tensor, "batch seen"]
    real: Bool[Tensor, "batch seen"]
    start: int
    prompt_length: int

    def positions(self) -> Int[Tensor, "batch seen"]:
        """Each column's position in its own text, from 0 at the first real token (negative before it)."""
        counted: Tensor = self.real.long().cumsum(1) - 1
        return counted

    def prompt_lengths(self) -> Int[Tensor, " batch"]:
        """Real tokens of each prompt."""
        lengths: Tensor = self.real[:, : self.prompt_length].sum(1)
        return lengths


@runtime_checkable
class Intervention(Protocol):
    """A change of the forward pass: what, where (sites and positions), decided anew for every pass."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites it changes."""
        ...

    def check(self, forward: ForwardPass) -> None:
        """Raises UserError if the change is impossible in this pass; called before the model runs."""
        ...

    def apply(self, activation: Tensor, site: Site, forward: ForwardPass) -> Tensor:
        """Returns the new activation at a site [batch, pos, ...]; `pos` are the columns from `start` on."""
        ...


def whole_pass(
    tokens: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch pos"] | None, prompt_length: int | None = None
) -> ForwardPass:
    """Makes a pass without a cache, over prompts of `prompt_length` (default: all) columns and the rest."""
    real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()
    return ForwardPass(tokens, real, 0, tokens.shape[1] if prompt_length is None else prompt_length)


def followed(prompts: ForwardPass, answers: Sequence[Sequence[int]]) -> ForwardPass:
    """Makes the pass over prompts and the tokens that follow each, in the layout of generation.

    Answers start after the prompts' last column; shorter ones are padded on the right, where no token of a
    row attends.
    """
    width = max(map(len, answers))
    new = torch.tensor([[*answer, *[0] * (width - len(answer))] for answer in answers], dtype=torch.long)
    real = torch.arange(width) < torch.tensor([[len(answer)] for answer in answers])
    device, shape = prompts.tokens.device, (len(answers), width)
    return ForwardPass(
        torch.cat([prompts.tokens, new.view(shape).to(device)], 1),
        torch.cat([prompts.real, real.view(shape).to(device)], 1),
        prompts.start,
        prompts.prompt_length,
    )
