"""Runs prompts of any lengths in batches, each under a change of its own."""

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
    """Tokens and mask [row, pos] of prompts padded on the left, and the column of each prompt's position."""

    places: list[int]
    tokens: Int[Tensor, "row pos"]
    mask: Int[Tensor, "row pos"]
    columns: Int[Tensor, " row"]


@runtime_checkable
class Change(Protocol):
    """A change of the forward pass that may differ from prompt to prompt, such as a patch or a knockout."""

    def on(self, subject: Subject, rows: PromptBatch) -> AbstractContextManager[None]:
        """Within the block these rows run changed; `rows.places` are their prompts' indices."""
        ...


def changed(subject: Subject, change: Change | None, rows: PromptBatch) -> AbstractContextManager[None]:
    """`change.on` these rows; a block that does nothing if `change` is None."""
    return nullcontext() if change is None else change.on(subject, rows)


def prompt_batches(
    subject: Subject, prompts: Sequence[Prompt], rows_per_batch: int = ROWS_PER_BATCH
) -> Iterator[PromptBatch]:
    """Yields prompts in batches of similar length; `places` are their indices."""
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
    """The final norm's output at the end of each prompt, in their order, under a change."""
    if not prompts:
        return torch.empty(0, subject.d_model, device=subject.device, dtype=subject.dtype)
    places, parts = [], []
    for rows in prompt_batches(subject, prompts, rows_per_batch):
        with changed(subject, change, rows):
            normed = subject.normed(rows.tokens, rows.mask)
        places += rows.places
        parts.append(normed[:, -1])
    return torch.cat(parts)[torch.tensor(places).argsort().to(subject.device)]


def patched_continuations(
    subject: Subject,
    prompts: Sequence[Prompt],
    new_tokens: int,
    change: Change | None = None,
    rows_per_batch: int = ROWS_PER_BATCH,
) -> list[str]:
    """Generates a continuation of each prompt greedily, under a change of the prompt."""
    texts = [""] * len(prompts)
    for rows in prompt_batches(subject, prompts, rows_per_batch):
        with changed(subject, change, rows):
            written = subject.generate_ids(rows.tokens, rows.mask, new_tokens)
        for place, ids in zip(rows.places, written, strict=True):
            texts[place] = subject.decode(ids)
    return texts
