"""The feature space: one vocabulary for neurons, SAE latents and directions."""

from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.site import Site

Polarity = Literal[1, -1]


@runtime_checkable
class ReadableFeatures(Protocol):
    """A site and a way to read features from its activation: what is mined, described and compared."""

    @property
    def name(self) -> str:
        """Unique within a run, such as `mlp.3` or `sae.resid_post.4`."""
        ...

    @property
    def site(self) -> Site:
        """Where the features are read."""
        ...

    @property
    def n_features(self) -> int:
        """How many features the space has."""
        ...

    @property
    def signed(self) -> bool:
        """Whether a feature's negative side is a feature, too (a SwiGLU neuron: yes; a ReLU latent: no)."""
        ...

    def encode(self, activation: Float[Tensor, "*batch d_site"]) -> Float[Tensor, "*batch n_features"]:
        """Reads every feature's activation."""
        ...

    def decoder(self, feature_ids: Int[Tensor, " feature"]) -> Float[Tensor, "feature d_model"]:
        """What one unit of each feature adds to the residual stream."""
        ...


@runtime_checkable
class FeatureSpace(ReadableFeatures, Protocol):
    """Features that can be written back where they are read, so that they can be changed and attributed to.

    Every implementation keeps two promises: writing what was read changes nothing, and writing some
    features leaves everything else (other features that do not overlap, an SAE's error) as it was.
    """

    def write(
        self,
        activation: Float[Tensor, "*batch d_site"],
        feature_ids: Int[Tensor, " feature"],
        values: Float[Tensor, "*batch feature"],
    ) -> Float[Tensor, "*batch d_site"]:
        """Returns a new activation in which the named features have these values."""
        ...

    def pull_back(
        self, activation: Float[Tensor, "*batch d_site"], gradient: Float[Tensor, "*batch d_site"]
    ) -> Float[Tensor, "*batch n_features"]:
        """Turns a gradient with respect to the activation into one with respect to each feature's value.

        `gradient` is that of a scalar at `activation`; the result for feature `i` is its inner product with
        what one unit of `i` adds to the activation, all other features held.
        """
        ...


def polarities(space: ReadableFeatures) -> tuple[Polarity, ...]:
    """The polarities in which a space's features are mined and described."""
    return (1, -1) if space.signed else (1,)


def writable(space: ReadableFeatures) -> FeatureSpace:
    """Returns the space if its features can be written.

    Raises:
        UserError: they can only be read.
    """
    if not isinstance(space, FeatureSpace):
        raise UserError(
            f"features of {space.name} can be read at {space.site}, but not written there",
            space.name,
            "to change one, add a multiple of its decoder row with AddVector where the row is added",
        )
    return space
