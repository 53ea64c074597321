"""What a subject loses when a site's activations are replaced: cross-entropy and KL, summed per document."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from interp.corpus.batches import Batch
from interp.subject.losses import compared_losses, token_losses
from interp.subject.site import Site
from interp.subject.subject import Subject

Rows = Float[Tensor, "token width"]
Sums = NDArray[np.float64]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Splice:
    """Puts `replace(x, y)` in the place of `y`, the activation at `writes`; `x` is the one at `reads`.

    Both are [token, width] of the positions that count, heads side by side. For an SAE the two sites are one.
    """

    reads: Site
    writes: Site
    replace: Callable[[Rows, Rows], Rows]

    def hooks(self, counts: Bool[Tensor, "row pos"]) -> dict[Site, Callable[[Tensor], Tensor]]:
        """Hooks that replace at the positions that count and leave all others; for one forward pass."""
        read: list[Rows] = []

        def look(activation: Tensor) -> Tensor:
            read.append(activation[counts.to(activation.device)].flatten(1))
            return activation

        def write(activation: Tensor) -> Tensor:
            keep = counts.to(activation.device)
            old = activation[keep]
            flat = old.flatten(1)
            new = activation.clone()
            x = flat if self.reads == self.writes else read.pop()
            new[keep] = self.replace(x, flat).view_as(old).to(activation.dtype)
            return new

        return {self.writes: write} if self.reads == self.writes else {self.reads: look, self.writes: write}


@dataclass(frozen=True)
class DocumentLosses:
    """Sums over the tokens that count, in nats [document]: of their losses, and of KL(clean || changed)."""

    cross_entropy: Sums
    kl: Sums


class Documents:
    """Batches whose losses are summed by document; `n_predicted` and `n_counted` are tokens [document]."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        found = sorted({int(index) for batch in batches for index in batch.document})
        self._place = {document: place for place, document in enumerate(found)}
        self.n_predicted = self.summed([batch.counts[:, 1:] for batch in batches])
        self.n_counted = self.summed([batch.counts for batch in batches])

    def summed(self, by_batch: Sequence[NDArray[np.generic]]) -> Sums:
        """Sums [document] of a number per row and position, given batch by batch."""
        sums = np.zeros(len(self._place))
        for batch, values in zip(self.batches, by_batch, strict=True):
            rows = [self._place[int(index)] for index in batch.document]
            np.add.at(sums, rows, values.sum(1))
        return sums


def document_losses(
    subject: Subject,
    documents: Documents,
    splices: Mapping[str, Splice],
    advance: Advance = lambda amount: None,
) -> tuple[Sums, dict[str, DocumentLosses]]:
    """Measures the cross-entropy of the unchanged subject, and the losses under each splice.

    `advance` is called after every forward pass: one for each splice and one more, for every batch.
    """
    clean_losses: list[NDArray[np.float64]] = []
    losses: dict[str, list[NDArray[np.float64]]] = {name: [] for name in splices}
    divergences: dict[str, list[NDArray[np.float64]]] = {name: [] for name in splices}
    for batch in documents.batches:
        tokens, counts, mask = (torch.from_numpy(part) for part in (batch.tokens, batch.counts, batch.mask))
        with torch.inference_mode():
            clean = subject.normed(tokens, mask)
            advance(1)
            changed = []
            for splice in splices.values():
                with subject.edited(splice.hooks(counts)):
                    changed.append(subject.normed(tokens, mask))
                advance(1)
            following = tokens.roll(-1, 1)
            cross_entropy, kl = compared_losses(subject, clean, changed, following)
        by_pass = _numpy(cross_entropy)[..., :-1] * batch.counts[:, 1:]
        clean_losses.append(by_pass[0])
        for name, own, own_kl in zip(splices, by_pass[1:], _numpy(kl) * batch.counts, strict=True):
            losses[name].append(own)
            divergences[name].append(own_kl)
    return documents.summed(clean_losses), {
        name: DocumentLosses(documents.summed(losses[name]), documents.summed(divergences[name]))
        for name in splices
    }


@torch.inference_mode()
def spliced_losses(subject: Subject, documents: Documents, splice: Splice) -> Sums:
    """Measures the cross-entropy under one splice alone: a pass for every batch."""
    losses = []
    for batch in documents.batches:
        tokens, counts, mask = (torch.from_numpy(part) for part in (batch.tokens, batch.counts, batch.mask))
        with subject.edited(splice.hooks(counts)):
            normed = subject.normed(tokens, mask)
        found = token_losses(subject, normed, tokens.roll(-1, 1))
        losses.append(_numpy(found)[:, :-1] * batch.counts[:, 1:])
    return documents.summed(losses)


def _numpy(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.double().cpu().numpy()
    return array
