"""Entropy and divergence of distributions over tokens, from logits and one exponential of each."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LogProbabilities:
    """Logits and what a softmax is made of: probability = weight / total = exp(logit - normaliser)."""

    logits: Float[Tensor, "*batch d_vocab"]
    weight: Float[Tensor, "*batch d_vocab"]
    total: Float[Tensor, "*batch"]
    normaliser: Float[Tensor, "*batch"]

    @classmethod
    def of(cls, logits: Float[Tensor, "*batch d_vocab"]) -> "LogProbabilities":
        """Of these logits."""
        peak = logits.detach().amax(-1, keepdim=True)
        weight = (logits - peak).exp_()
        total = weight.sum(-1)
        return cls(logits, weight, total, peak[..., 0] + total.log())

    @cached_property
    def probability(self) -> Float[Tensor, "*batch d_vocab"]:
        """The probabilities."""
        return self.weight / self.total[..., None]

    @cached_property
    def entropy(self) -> Float[Tensor, "*batch"]:
        """In nats."""
        return self.cross_entropy(self)

    def cross_entropy(self, other: "LogProbabilities") -> Float[Tensor, "*batch"]:
        """- sum p log q in nats, q the other's probabilities; with itself the entropy."""
        expected = torch.linalg.vecdot(self.weight, other.logits) / self.total
        found: Tensor = other.normaliser - expected
        return found

    def kl(self, other: "LogProbabilities") -> Float[Tensor, "*batch"]:
        """KL(self || other) in nats."""
        return self.cross_entropy(other) - self.entropy
