"""The part of a feature space that a subject reads with, and the result of a reading pass."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from interp.subject.site import Site

KeptLogits = Literal["all", "last", "none"]


@runtime_checkable
class Reading(Protocol):
    """What `Subject.run` needs of a feature space: where to read, and how."""

    @property
    def name(self) -> str:
        """The key of its features in the output."""
        ...

    @property
    def site(self) -> Site:
        """Where to read."""
        ...

    def encode(self, activation: Tensor) -> Tensor:
        """Computes features [batch, pos, feature] from the activation at the site."""
        ...


@dataclass(frozen=True)
class RunOutput:
    """`logits` [batch, pos, d_vocab], `features` [batch, pos, feature] by space, `tokens` [batch, pos].

    Of `logits`, `pos` is 1 if only the last position's were asked for, and 0 if none were. `attention_mask`
    [batch, pos] is 0 at the padding of shorter texts, where the other values mean nothing.
    """

    logits: Tensor
    features: dict[str, Tensor]
    tokens: Tensor
    attention_mask: Tensor

    def __repr__(self) -> str:
        rows, length = self.tokens.shape
        features = f", features of {', '.join(self.features)}" if self.features else ""
        logits = f"logits after {self.logits.shape[1]} of them"
        return f"RunOutput({rows} rows of {length} tokens, {logits}{features})"
