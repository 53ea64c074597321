"""Putting vectors into prompts, one for each row of a batch: what every patchscope does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.lens.prompt import Prompt
from interp.subject.forward import ForwardPass
from interp.subject.site import Site
from interp.subject.subject import Subject

ROWS_PER_BATCH = 128


@dataclass(frozen=True, eq=False)
class Patch:
    """Vectors [row, d_model] that take the place of activations at a site; `rescaled` to the norms there."""

    site: Site
    vectors: Float[Tensor, "row d_model"]
    rescaled: bool = False

    def of(self, rows: Sequence[int]) -> "Patch":
        """The patch of some of the rows."""
        return Patch(self.site, self.vectors[list(rows)], self.rescaled)


@dataclass(frozen=True, eq=False)
class RowsInPlace:
    """Tokens and mask [row, pos] of prompts padded on the left, and the column of each one's position."""

    places: list[int]
    tokens: Int[Tensor, "row pos"]
    mask: Int[Tensor, "row pos"]
    columns: Int[Tensor, " row"]


class PutIn:
    """Replaces one column of each row of a prompt, and nothing in what is generated behind it."""

    def __init__(self, patch: Patch, columns: Int[Tensor, " row"]) -> None:
        self.sites = (patch.site,)
        self.patch, self.columns = patch, columns

    def check(self, forward: ForwardPass) -> None:
        """Rows and columns were made for each other."""

    def apply(self, activation: Tensor, site: Site, forward: ForwardPass) -> Tensor:
        """The activation with the vectors in place."""
        if forward.start > 0:
            return activation
        rows = torch.arange(len(activation), device=activation.device)
        vectors = self.patch.vectors.to(activation)
        if self.patch.rescaled:
            norms = activation[rows, self.columns].norm(dim=-1, keepdim=True)
            vectors = torch.nn.functional.normalize(vectors, dim=-1) * norms
        changed = activation.clone()
        changed[rows, self.columns] = vectors
        return changed


def in_batches(
    subject: Subject, prompts: Sequence[Prompt], rows_per_batch: int = ROWS_PER_BATCH
) -> Iterator[RowsInPlace]:
    """The prompts in batches of like length; `places` says which they are."""
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place].tokens))
    for start in range(0, len(order), rows_per_batch):
        places = order[start : start + rows_per_batch]
        tokens, mask = subject.pad([prompts[place].tokens for place in places])
        columns = torch.tensor([tokens.shape[1] + prompts[place].position for place in places])
        yield RowsInPlace(places, tokens, mask, columns.to(subject.device))


@contextmanager
def patched(subject: Subject, patch: Patch | None, rows: RowsInPlace) -> Iterator[None]:
    """Within the block these rows carry their part of the patch; without one nothing happens."""
    if patch is None:
        yield
        return
    with subject.intervene(PutIn(patch.of(rows.places), rows.columns)):
        yield


@torch.no_grad()
def next_logits(
    subject: Subject,
    prompts: Sequence[Prompt],
    patch: Patch | None = None,
    rows_per_batch: int = ROWS_PER_BATCH,
) -> Iterator[tuple[list[int], Float[Tensor, "row d_vocab"]]]:
    """The logits behind each prompt, batch by batch with the prompts' places, under a patch."""
    for rows in in_batches(subject, prompts, rows_per_batch):
        last = torch.full((len(rows.places),), rows.tokens.shape[1] - 1)
        mask = rows.mask if (rows.mask == 0).any() else None
        with patched(subject, patch, rows):
            yield rows.places, subject.logits_at(rows.tokens, last, mask)


def continuations(
    subject: Subject,
    prompts: Sequence[Prompt],
    new_tokens: int,
    patch: Patch | None = None,
    rows_per_batch: int = ROWS_PER_BATCH,
) -> list[str]:
    """What the subject writes behind each prompt, greedily, under a patch of the prompt."""
    texts = [""] * len(prompts)
    for rows in in_batches(subject, prompts, rows_per_batch):
        with patched(subject, patch, rows):
            written = subject.generate_ids(rows.tokens, rows.mask, new_tokens)
        for place, ids in zip(rows.places, written, strict=True):
            texts[place] = subject.decode(ids)
    return texts
