"""What every node of a graph adds to the residual stream in a run, and what is put in its place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.circuits.pairs import Pairs
from interp.circuits.wiring import START, Wiring
from interp.errors import UserError
from interp.subject.forward import ForwardPass
from interp.subject.passes import Edit
from interp.subject.site import Site

Corruption = Literal["pair", "mean", "mean_positional", "zero"]
"""What a corrupted node writes: what it writes in the pair's corrupted prompt; its mean over the clean
prompts, of all positions or of each; nothing. To resample, use "pair" with `Pairs.resampled`."""


@dataclass(frozen=True, eq=False)
class Written:
    """What nodes write, in the smallest form: nothing is kept for each head in the stream's own width.

    `start` [batch, pos, d_model] is the input's. For each layer, `heads` [batch, pos, head, d_head] are the
    heads' outputs divided by the scale of a norm after them, and `mlps` [batch, pos, d_model].
    """

    wiring: Wiring
    start: Float[Tensor, "batch pos d_model"]
    heads: tuple[Float[Tensor, "batch pos head d_head"], ...]
    mlps: tuple[Float[Tensor, "batch pos d_model"], ...]

    def vectors(self, columns: slice) -> Float[Tensor, "source batch columns d_model"]:
        """Computes what each source adds to the residual stream at some of the positions."""
        parts = [self.start[None, :, columns]]
        for writer, z, mlp in zip(self.wiring.heads, self.heads, self.mlps, strict=True):
            parts += [writer.vectors(z[:, columns]).permute(2, 0, 1, 3), mlp[None, :, columns]]
        return torch.cat(parts)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "Written":
        """Applies a function to each part."""
        return Written(
            self.wiring,
            function(self.start),
            tuple(map(function, self.heads)),
            tuple(map(function, self.mlps)),
        )

    def combined(self, other: "Written", function: Callable[[Tensor, Tensor], Tensor]) -> "Written":
        """Applies a function to each part and the same part of another run."""
        return Written(
            self.wiring,
            function(self.start, other.start),
            tuple(map(function, self.heads, other.heads)),
            tuple(map(function, self.mlps, other.mlps)),
        )

    def like(self, other: "Written") -> "Written":
        """Repeats a mean of prompts for a batch, in its type."""
        return self.combined(other, lambda mine, batch: mine.to(batch.dtype).expand_as(batch))

    def less(self, other: "Written", real: Bool[Tensor, "batch pos"]) -> "Written":
        """The difference from what is written in another run, zero at padding."""

        def minus(mine: Tensor, others: Tensor) -> Tensor:
            there = real.view(*real.shape, *[1] * (mine.ndim - 2))
            return torch.where(there, mine - others, torch.zeros_like(mine))

        return self.combined(other, minus)


class Keeping:
    """Edits that keep what nodes write in a pass, and change nothing; `written` makes the result of them."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self._found: dict[Site, Tensor] = {}

    def edits(self) -> dict[Site, Edit]:
        """The edits, by site."""
        layers = range(self.wiring.graph.n_layers)
        sites = [START, *(Site(kind, layer) for layer in layers for kind in ("head_out", "mlp_out"))]
        return {site: self._keep(site) for site in sites}

    def written(self) -> Written:
        """What was written in the last pass."""
        heads, layers = self.wiring.heads, range(self.wiring.graph.n_layers)
        return Written(
            self.wiring,
            self._found[START],
            tuple(heads[layer].scaled(self._found[Site("head_out", layer)]) for layer in layers),
            tuple(self._found[Site("mlp_out", layer)] for layer in layers),
        )

    def _keep(self, site: Site) -> Edit:
        def kept(activation: Tensor) -> Tensor:
            self._found[site] = activation.detach()
            return activation

        return kept


@torch.no_grad()
def written_in(wiring: Wiring, prompts: ForwardPass) -> tuple[Written, Float[Tensor, "batch d_vocab"]]:
    """Runs prompts, and returns what nodes write and the logits after each prompt."""
    keeping = Keeping(wiring)
    with wiring.subject.edited(keeping.edits()):
        logits = last_logits(wiring, prompts)
    return keeping.written(), logits


def last_logits(wiring: Wiring, prompts: ForwardPass) -> Float[Tensor, "batch d_vocab"]:
    """Runs prompts, and returns the logits after each."""
    last = torch.full((len(prompts.tokens),), prompts.tokens.shape[1] - 1)
    return wiring.subject.logits_at(prompts.tokens, last, prompts.real.long())


class Corrupted:
    """What corrupted nodes write, for any batch of some pairs."""

    def __init__(self, wiring: Wiring, pairs: Pairs, corruption: Corruption, rows_at_once: int = 32) -> None:
        """Prepares a corruption; a mean is taken over all the pairs' clean prompts, batch by batch.

        Raises:
            UserError: there is no such corruption, or the mean of each position is asked of prompts of
                different lengths.
        """
        if corruption not in get_args(Corruption):
            raise UserError(
                f"{corruption!r} is no corruption",
                "corruption",
                f"use one of {', '.join(get_args(Corruption))}",
            )
        if corruption == "mean_positional":
            pairs.check_one_length("corruption", "use mean")
        self.wiring, self.corruption = wiring, corruption
        if corruption in ("mean", "mean_positional"):
            self._mean = _mean(wiring, pairs, rows_at_once, by_position=corruption == "mean_positional")

    def of(self, batch: Pairs, clean: Written) -> Written:
        """What is put in the place of what is written in the clean prompts of a batch."""
        if self.corruption == "pair":
            return written_in(self.wiring, batch.corrupted)[0]
        if self.corruption == "zero":
            return clean.mapped(torch.zeros_like)
        return self._mean.like(clean)


def _mean(wiring: Wiring, pairs: Pairs, rows_at_once: int, by_position: bool) -> Written:
    """The mean of what is written in clean prompts: [1, pos, ...] of each position, or [1, 1, ...] of all."""
    total: Written | None = None
    count = 0
    for batch in pairs.batches(rows_at_once):
        written, _ = written_in(wiring, batch.clean)
        real = batch.clean.real

        def summed(activation: Tensor, real: Tensor = real) -> Tensor:
            there = real.view(*real.shape, *[1] * (activation.ndim - 2))
            kept = torch.where(there, activation, torch.zeros_like(activation)).double()
            return kept.sum(0, keepdim=True) if by_position else kept.sum((0, 1), keepdim=True)

        own = written.mapped(summed)
        total = own if total is None else total.combined(own, torch.add)
        count += len(batch) if by_position else int(real.sum())
    assert total is not None
    return total.mapped(lambda each: each / count)
