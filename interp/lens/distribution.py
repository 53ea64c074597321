"""Entropy and divergence of distributions over tokens, from logits and one normaliser."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LogProbabilities:
    """Logits with their normaliser: what entropies and divergences are made of without a second softmax."""

    logits: Float[Tensor, "*batch d_vocab"]
    normaliser: Float[Tensor, "*batch"]

    @classmethod
    def of(cls, logits: Float[Tensor, "*batch d_vocab"]) -> "LogProbabilities":
        """Of these logits."""
        return cls(logits, logits.logsumexp(-1))

    @cached_property
    def probability(self) -> Float[Tensor, "*batch d_vocab"]:
        """The probabilities."""
        return (self.logits - self.normaliser[..., None]).exp()

    @cached_property
    def entropy(self) -> Float[Tensor, "*batch"]:
        """In nats."""
        return self.cross_entropy(self)

    def cross_entropy(self, other: "LogProbabilities") -> Float[Tensor, "*batch"]:
        """- sum p log q in nats, q the other's probabilities; with itself the entropy."""
        found: Tensor = other.normaliser - torch.linalg.vecdot(self.probability, other.logits)
        return found

    def kl(self, other: "LogProbabilities") -> Float[Tensor, "*batch"]:
        """KL(self || other) in nats."""
        return self.cross_entropy(other) - self.entropy
