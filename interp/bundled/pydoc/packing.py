"""Training batches: documents packed into rows, each batch a function of the seed and the step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from interp.bundled.pydoc.tokenizer import BOS_ID
from interp.errors import UserError


@dataclass(frozen=True)
class TrainingBatch:
    """`tokens` are the inputs, `targets` what follows them, `documents` numbers the inputs' documents."""

    tokens: Int[Tensor, "row pos"]
    targets: Int[Tensor, "row pos"]
    documents: Int[Tensor, "row pos"]

    def to(self, device: torch.device) -> "TrainingBatch":
        """The same rows on a device."""
        return TrainingBatch(self.tokens.to(device), self.targets.to(device), self.documents.to(device))


class Packing:
    """All documents in a row, each after one beginning-of-sequence token, in a new order each epoch.

    Raises:
        UserError: one epoch has fewer tokens than a batch.
    """

    def __init__(self, documents: Sequence[Sequence[int]], seed: int, n_rows: int, n_pos: int) -> None:
        self._documents = [np.array([BOS_ID, *tokens], dtype=np.int32) for tokens in documents]
        self._seed, self._n_rows, self._n_pos = seed, n_rows, n_pos
        self.epoch_tokens = sum(map(len, self._documents))
        if self.epoch_tokens <= n_rows * n_pos:
            raise UserError(
                f"{self.epoch_tokens} tokens do not fill a batch of {n_rows} x {n_pos}",
                "training text",
                "use fewer or shorter rows",
            )
        self._epoch = -1
        self._stream: NDArray[np.int32] = np.empty(0, dtype=np.int32)

    def batch(self, step: int) -> TrainingBatch:
        """The batch of one step: the next `n_rows` x `n_pos` tokens, which may reach into the next epoch."""
        size = self._n_rows * self._n_pos
        epoch, start = divmod(step * size, self.epoch_tokens)
        piece = self._order(epoch)[start : start + size + 1]
        if len(piece) <= size:
            piece = np.concatenate([piece, self._order(epoch + 1)[: size + 1 - len(piece)]])
        stream = torch.from_numpy(piece.astype(np.int64))
        documents = (stream == BOS_ID).cumsum(0)
        return TrainingBatch(
            *(x.view(self._n_rows, self._n_pos) for x in (stream[:-1], stream[1:], documents[:-1]))
        )

    def _order(self, epoch: int) -> NDArray[np.int32]:
        if epoch != self._epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._documents))
            self._stream = np.concatenate([self._documents[index] for index in order])
            self._epoch = epoch
        return self._stream
