"""What a language model's logits cost: cross-entropy of the next token, and KL between two distributions."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def token_losses(
    logits: Float[Tensor, "row pos d_vocab"], tokens: Int[Tensor, "row pos"]
) -> Float[Tensor, "row next"]:
    """Cross-entropy of every next token in nats [row, pos - 1]."""
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), tokens[:, 1:].to(logits.device), reduction="none"
    )


def token_kl(
    clean: Float[Tensor, "row pos d_vocab"], changed: Float[Tensor, "row pos d_vocab"]
) -> Float[Tensor, "row pos"]:
    """KL(clean || changed) in nats of the distribution over the next token, after every token."""
    p, q = clean.float().log_softmax(-1), changed.float().log_softmax(-1)
    return torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
