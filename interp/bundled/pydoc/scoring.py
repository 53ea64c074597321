"""How well a model predicts documents, token by token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from interp.bundled.pydoc.tokenizer import BOS_ID, PAD_ID
from interp.track.progress import Progress, silent

ROWS_PER_BATCH = 32


@dataclass(frozen=True)
class Predictions:
    """Per document [doc]: surprise in bits, number of tokens that were the likeliest, and of all tokens."""

    bits: Float[np.ndarray, " doc"]
    right: Int[np.ndarray, " doc"]
    tokens: Int[np.ndarray, " doc"]


@torch.inference_mode()
def predict(
    model: PreTrainedModel, documents: Sequence[Sequence[int]], progress: Progress | None = None
) -> Predictions:
    """Predict every token of every document from what precedes it.

    A document longer than the context is read in pieces, each after a beginning-of-sequence token of its own.
    That token is never predicted: the figures are of text alone.
    """
    longest = model.config.max_position_embeddings - 1
    pieces = [
        (number, list(tokens[start : start + longest]))
        for number, tokens in enumerate(documents)
        for start in range(0, len(tokens), longest)
    ]
    pieces.sort(key=lambda piece: len(piece[1]))  # rows of like length together: little padding
    bits, right = np.zeros(len(documents)), np.zeros(len(documents), dtype=np.int64)
    with (progress or silent()).task("predicting", total=len(pieces), unit="pieces") as advance:
        for start in range(0, len(pieces), ROWS_PER_BATCH):
            chosen = pieces[start : start + ROWS_PER_BATCH]
            width = max(len(tokens) for _, tokens in chosen)
            rows = torch.tensor(
                [[BOS_ID, *tokens] + [PAD_ID] * (width - len(tokens)) for _, tokens in chosen]
            )
            inside = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for _, tokens in chosen])
            logits = model(rows[:, :-1]).logits.float()
            surprise = torch.nn.functional.cross_entropy(logits.mT, rows[:, 1:], reduction="none")
            numbers = [number for number, _ in chosen]
            np.add.at(bits, numbers, (surprise * inside).sum(1).double().numpy() / math.log(2))
            np.add.at(right, numbers, ((logits.argmax(-1) == rows[:, 1:]) * inside).sum(1).numpy())
            advance(len(chosen))
    return Predictions(bits, right, np.array([len(tokens) for tokens in documents]))
