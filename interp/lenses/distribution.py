"""Distributions over next tokens from logits: entropy, divergence, and the likeliest few."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LogProbabilities:
    """Logits with the terms of their softmax: probability = weight / total = exp(logit - normaliser)."""

    logits: Float[Tensor, "*batch d_vocab"]
    weight: Float[Tensor, "*batch d_vocab"]
    total: Float[Tensor, "*batch"]
    normaliser: Float[Tensor, "*batch"]

    @classmethod
    def of(cls, logits: Float[Tensor, "*batch d_vocab"]) -> "LogProbabilities":
        """Computes the terms of the softmax of these logits, less their maximum for stability."""
        peak = logits.detach().amax(-1, keepdim=True)
        weight = (logits - peak).exp_()
        total = weight.sum(-1)
        return cls(logits, weight, total, peak[..., 0] + total.log())

    @cached_property
    def probability(self) -> Float[Tensor, "*batch d_vocab"]:
        """weight / total, computed at each access."""
        return self.weight / self.total[..., None]

    @cached_property
    def entropy(self) -> Float[Tensor, "*batch"]:
        """The entropy of each distribution, in nats."""
        return self.cross_entropy(self)

    def cross_entropy(self, other: "LogProbabilities") -> Float[Tensor, "*batch"]:
        """-sum p log q in nats, where q are the other's probabilities."""
        expected = torch.linalg.vecdot(self.weight, other.logits) / self.total
        found: Tensor = other.normaliser - expected
        return found

    def kl(self, other: "LogProbabilities") -> Float[Tensor, "*batch"]:
        """KL(self || other) in nats."""
        return self.cross_entropy(other) - self.entropy


BLOCK = 64  # logits


def likeliest(
    logits: Float[Tensor, "*batch d_vocab"], k: int
) -> tuple[Float[Tensor, "*batch k"], Int[Tensor, "*batch k"]]:
    """Returns the `k` largest logits and their tokens, largest first; ties are in no fixed order.

    The k largest lie in the k blocks with the largest maxima (or in the incomplete block at the end), so
    only those are sorted.
    """
    d_vocab = logits.shape[-1]
    n_blocks = d_vocab // BLOCK
    if n_blocks <= k:
        values, tokens = logits.topk(min(k, d_vocab), dim=-1)
        return values, tokens
    blocks = logits[..., : n_blocks * BLOCK].reshape(*logits.shape[:-1], n_blocks, BLOCK)
    best = blocks.amax(-1).topk(k, dim=-1, sorted=False).indices
    inside = best[..., None] * BLOCK + torch.arange(BLOCK, device=logits.device)
    rest = torch.arange(n_blocks * BLOCK, d_vocab, device=logits.device).expand(*best.shape[:-1], -1)
    candidates = torch.cat([inside.flatten(-2), rest], -1)
    values, places = logits.gather(-1, candidates).topk(k, dim=-1)
    return values, candidates.gather(-1, places)
