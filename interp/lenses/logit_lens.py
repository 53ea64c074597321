"""The logit lens (nostalgebraist 2020): the final norm and the unembedding, applied to an activation."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from interp.subject.site import Site
from interp.subject.subject import Subject


@runtime_checkable
class Lens(Protocol):
    """A way to read an activation as a distribution over next tokens."""

    name: str
    subject: Subject

    def translated(
        self, activation: Float[Tensor, "*batch d_model"], site: Site
    ) -> Float[Tensor, "*batch d_model"]:
        """Maps an activation to what the final norm and the unembedding are applied to."""
        ...

    def logits(
        self, activation: Float[Tensor, "*batch d_model"], site: Site
    ) -> Float[Tensor, "*batch d_vocab"]:
        """The logits that are read at a site."""
        ...


class LogitLens:
    """logits = unembed(final_norm(x)), the same at every site; at the last layer the model's own output."""

    name = "logit lens"

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def __repr__(self) -> str:
        return f"LogitLens({self.subject.name})"

    def translated(
        self, activation: Float[Tensor, "*batch d_model"], site: Site
    ) -> Float[Tensor, "*batch d_model"]:
        """Returns the activation unchanged."""
        return activation

    def logits(
        self, activation: Float[Tensor, "*batch d_model"], site: Site
    ) -> Float[Tensor, "*batch d_vocab"]:
        """The logits that are read at a site."""
        activation = activation.to(self.subject.device, self.subject.dtype)
        return self.subject.unembed(self.subject.final_norm(activation)).float()
