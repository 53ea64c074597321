"""MLP neurons as a feature space."""

from jaxtyping import Float, Int
from torch import Tensor

from interp.subject.site import Site
from interp.subject.subject import Subject


class MlpNeurons:
    """The neurons of one MLP layer: the input of its down projection, one feature a column.

    Neurons are signed: a gated neuron fires in two directions, each of which is a feature.
    """

    signed = True

    def __init__(self, subject: Subject, layer: int) -> None:
        self.site = Site("mlp_post", layer)
        self.n_features = subject.site_width(self.site)
        self.name = f"mlp.{layer}"
        self._subject = subject

    def __repr__(self) -> str:
        return f"MlpNeurons({self.name}: {self.n_features:,} features at {self.site})"

    def encode(self, activation: Float[Tensor, "*batch d_mlp"]) -> Float[Tensor, "*batch d_mlp"]:
        """Returns the activation itself: a neuron is a coordinate."""
        return activation

    def write(
        self,
        activation: Float[Tensor, "*batch d_mlp"],
        feature_ids: Int[Tensor, " feature"],
        values: Float[Tensor, "*batch feature"],
    ) -> Float[Tensor, "*batch d_mlp"]:
        """Returns the activation with these neurons set to these values."""
        return activation.index_copy(-1, feature_ids, values.to(activation.dtype))

    def decoder(self, feature_ids: Int[Tensor, " feature"]) -> Float[Tensor, "feature d_model"]:
        """The neurons' rows of the down projection (if a norm follows it, see `Subject.output_weight`)."""
        return self._subject.output_weight(self.site)[feature_ids]

    def pull_back(
        self, activation: Float[Tensor, "*batch d_mlp"], gradient: Float[Tensor, "*batch d_mlp"]
    ) -> Float[Tensor, "*batch d_mlp"]:
        """Returns the gradient itself: a neuron is a coordinate."""
        return gradient
