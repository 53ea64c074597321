"""Training batches: documents of the world packed into rows, each batch a function of seed and step."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.organism.corpus import FAMILIES, WorldCorpus

BOS_ID = 0
# More than any batch needs, so that no two steps share a document.
DOCUMENTS_PER_STEP = 1_000_000
_FAMILY_NUMBER = {name: number for number, name in enumerate(FAMILIES)}


@dataclass(frozen=True)
class TrainingBatch:
    """Rows of packed documents.

    `tokens` are the inputs and `targets` what follows them; `weights` are the targets' loss weights,
    `answers` marks targets that are determined, `families` numbers the targets' families and `documents`
    the inputs' documents.
    """

    tokens: Int[Tensor, "row pos"]
    targets: Int[Tensor, "row pos"]
    weights: Float[Tensor, "row pos"]
    answers: Bool[Tensor, "row pos"]
    families: Int[Tensor, "row pos"]
    documents: Int[Tensor, "row pos"]

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


def training_batch(seed: int, step: int, n_rows: int, n_pos: int, loss: LossWeights) -> TrainingBatch:
    """The batch of one step: fresh documents, each behind one beginning-of-sequence token."""
    needed = n_rows * n_pos + 1
    tokens: list[int] = []
    answers: list[bool] = []
    families: list[int] = []
    start = step * DOCUMENTS_PER_STEP
    corpus = WorldCorpus(seed, start + DOCUMENTS_PER_STEP)
    index = start
    while len(tokens) < needed:
        family, draft = corpus.draft(index)
        tokens += [BOS_ID, *draft.tokens]
        answers += [False, *draft.answers]
        families += [_FAMILY_NUMBER[family]] * (len(draft.tokens) + 1)
        index += 1
    stream = torch.tensor(tokens[:needed])
    answered = torch.tensor(answers[:needed])
    weights = torch.where(answered, loss.answer, torch.where(stream == BOS_ID, loss.bos, loss.other))
    documents = torch.from_numpy(np.cumsum(stream.numpy() == BOS_ID))

    def inputs(values: Tensor) -> Tensor:
        return values[:-1].view(n_rows, n_pos)

    def targets(values: Tensor) -> Tensor:
        return values[1:].view(n_rows, n_pos)

    return TrainingBatch(
        tokens=inputs(stream),
        targets=targets(stream),
        weights=targets(weights),
        answers=targets(answered),
        families=targets(torch.tensor(families[:needed])),
        documents=inputs(documents),
    )
