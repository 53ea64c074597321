"""What every sparse dictionary of one subject has: where it reads, what it reconstructs, its latents."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from interp.subject.site import Site


@runtime_checkable
class Dictionary(Protocol):
    """An SAE, which reconstructs what it reads, or a transcoder, which predicts a later site from it."""

    @property
    def name(self) -> str:
        """Unique within a run."""
        ...

    @property
    def site(self) -> Site:
        """Where activations are read."""
        ...

    @property
    def target(self) -> Site:
        """Site of the activation that is reconstructed; for an SAE, `site` itself."""
        ...

    @property
    def n_features(self) -> int:
        """Number of latents."""
        ...

    def encode(self, activation: Float[Tensor, "... d_site"]) -> Float[Tensor, "... n_features"]:
        """Every latent's activation."""
        ...

    def reconstruct(self, activation: Float[Tensor, "*any d_site"]) -> Float[Tensor, "*any d_target"]:
        """The reconstruction of the activation at `target`, from the one at `site`."""
        ...
