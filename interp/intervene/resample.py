"""Which token of a sample stands in at each position: drawn by the text, whatever stands beside it."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from interp.document import Document
from interp.mining.priority import priority
from interp.subject.forward import ForwardPass


def drawn(forward: ForwardPass, n_rows: int, seed: int) -> Int[Tensor, "batch pos"]:
    """A row of `n_rows` for each new column of a pass, by hash of the prompt, the position and the seed."""
    n = forward.prompt_length
    prompts = forward.tokens[:, :n].cpu().numpy().astype(np.int32)
    real = forward.real[:, :n].cpu().numpy()
    texts = np.array([Document(row[kept]).hash for row, kept in zip(prompts, real, strict=True)])
    positions = forward.positions()[:, forward.start :].clamp(min=0).cpu().numpy()
    rows = priority(np.broadcast_to(texts[:, None], positions.shape), positions, seed & 0xFFFFFFFF) % n_rows
    return torch.from_numpy(rows)
