"""Training batches: documents of the world packed into rows, each batch a function of seed and step."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.bundled.world.corpus import FAMILIES
from interp.bundled.world.draft import Family
from interp.bundled.world.stream import labelled_stream
from interp.bundled.world.vocabulary import BOS_ID

# More than any batch needs, so that no two steps share a document.
DOCUMENTS_PER_STEP = 1_000_000


@dataclass(frozen=True)
class TrainingBatch:
    """Rows of packed documents.

    `tokens` are the inputs and `targets` what follows them; `weights` are the targets' loss weights,
    `answers` marks targets that are determined, `families` numbers the targets' families. `documents` and
    `input_families` number the inputs' documents and families.
    """

    tokens: Int[Tensor, "row pos"]
    targets: Int[Tensor, "row pos"]
    weights: Float[Tensor, "row pos"]
    answers: Bool[Tensor, "row pos"]
    families: Int[Tensor, "row pos"]
    documents: Int[Tensor, "row pos"]
    input_families: Int[Tensor, "row pos"]

    def to(self, device: torch.device) -> "TrainingBatch":
        """The same rows on a device."""
        moved = (getattr(self, field.name).to(device) for field in fields(self))
        return TrainingBatch(*moved)


@dataclass(frozen=True)
class LossWeights:
    """Loss weights of answers, of all other words and of the start of the next document."""

    answer: float = 1.0
    other: float = 0.3
    bos: float = 0.05


def training_batch(
    seed: int, step: int, n_rows: int, n_pos: int, loss: LossWeights, families: Sequence[Family] = FAMILIES
) -> TrainingBatch:
    """The batch of one step: new documents, each after one beginning-of-sequence token."""
    stream = labelled_stream(seed, n_rows * n_pos + 1, step * DOCUMENTS_PER_STEP, families)
    tokens, answers = torch.from_numpy(stream.tokens), torch.from_numpy(stream.answers)
    weights = torch.where(answers, loss.answer, torch.where(tokens == BOS_ID, loss.bos, loss.other))
    documents, family = (tokens == BOS_ID).cumsum(0), torch.from_numpy(stream.family)

    def inputs(values: Tensor) -> Tensor:
        return values[:-1].view(n_rows, n_pos)

    def targets(values: Tensor) -> Tensor:
        return values[1:].view(n_rows, n_pos)

    return TrainingBatch(
        tokens=inputs(tokens),
        targets=targets(tokens),
        weights=targets(weights),
        answers=targets(answers),
        families=targets(family),
        documents=inputs(documents),
        input_families=inputs(family),
    )
