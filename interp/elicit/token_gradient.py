"""From a gradient at a token's embedding to one for every token that could stand there."""

import torch
from jaxtyping import Float
from torch import Tensor

from interp.subject.site import Site
from interp.subject.subject import Subject

EMBED = Site("embed")
_ROWS_AT_ONCE = 4096


def by_token(subject: Subject, gradients: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_vocab"]:
    """The derivative by each token's one-hot entry: the inner product of the gradient and what it adds.

    The gradient is that at the site `embed`, and what a token adds is read there, so that a model's own scale
    of embeddings (Gemma) counts. Rows of the embedding are read block by block and not kept.
    """
    parts = []
    for start in range(0, subject.d_vocab, _ROWS_AT_ONCE):
        ids = torch.arange(start, min(start + _ROWS_AT_ONCE, subject.d_vocab))[:, None]
        rows = subject.read(ids, [EMBED], torch.ones_like(ids))[EMBED][:, 0]
        parts.append((gradients.to(rows.device, rows.dtype) @ rows.T).float().cpu())
    return torch.cat(parts, 1)
