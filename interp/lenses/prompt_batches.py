"""Running prompts of any lengths in batches, each under a change of its own."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.lenses.prompt import Prompt
from interp.subject.subject import Subject

ROWS_PER_BATCH = 128


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Tokens and mask [row, pos] of prompts padded on the left, and the column of each one's position."""

    places: list[int]
    tokens: Int[Tensor, "row pos"]
    mask: Int[Tensor, "row pos"]
    columns: Int[Tensor, " row"]


@runtime_checkable
class Change(Protocol):
    """What is done to prompts, one of them at a place of its own."""

    def on(self, subject: Subject, rows: PromptBatch) -> AbstractContextManager[None]:
        """Within the block these rows, which are prompts `rows.places`, run changed."""
        ...


def changed(subject: Subject, change: Change | None, rows: PromptBatch) -> AbstractContextManager[None]:
    """A block in which rows run changed, or as they are."""
    return nullcontext() if change is None else change.on(subject, rows)


def prompt_batches(
    subject: Subject, prompts: Sequence[Prompt], rows_per_batch: int = ROWS_PER_BATCH
) -> Iterator[PromptBatch]:
    """The prompts in batches of like length; `places` says which they are."""
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place].tokens))
    for start in range(0, len(order), rows_per_batch):
        places = order[start : start + rows_per_batch]
        tokens, mask = subject.pad([prompts[place].tokens for place in places])
        columns = torch.tensor([tokens.shape[1] + prompts[place].position for place in places])
        yield PromptBatch(places, tokens, mask, columns.to(subject.device))


@torch.no_grad()
def next_normed(
    subject: Subject,
    prompts: Sequence[Prompt],
    change: Change | None = None,
    rows_per_batch: int = ROWS_PER_BATCH,
) -> Float[Tensor, "prompt d_model"]:
    """What is unembedded behind each prompt, under a change."""
    if not prompts:
        return torch.empty(0, subject.d_model, device=subject.device, dtype=subject.dtype)
    places, parts = [], []
    for rows in prompt_batches(subject, prompts, rows_per_batch):
        with changed(subject, change, rows):
            normed = subject.normed(rows.tokens, rows.mask)
        places += rows.places
        parts.append(normed[:, -1])
    return torch.cat(parts)[torch.tensor(places).argsort().to(subject.device)]


def continuations(
    subject: Subject,
    prompts: Sequence[Prompt],
    new_tokens: int,
    change: Change | None = None,
    rows_per_batch: int = ROWS_PER_BATCH,
) -> list[str]:
    """What the subject writes behind each prompt, greedily, under a change of the prompt."""
    texts = [""] * len(prompts)
    for rows in prompt_batches(subject, prompts, rows_per_batch):
        with changed(subject, change, rows):
            written = subject.generate_ids(rows.tokens, rows.mask, new_tokens)
        for place, ids in zip(rows.places, written, strict=True):
            texts[place] = subject.decode(ids)
    return texts
