"""The plainest space of features: for what reads activations and never writes them."""

from torch import Tensor

from interp.subject import Site


class EmbeddingCoordinates:
    """The embedding itself as features: activations that do not depend on how rows are batched."""

    site = Site("embed")

    def __init__(self, n_features: int, signed: bool, name: str = "embedding") -> None:
        self.name = name
        self.n_features = n_features
        self.signed = signed

    def encode(self, activation: Tensor) -> Tensor:
        cut = activation[..., : self.n_features]
        return cut if self.signed else cut.relu()

    def write(self, activation, feature_ids, values):
        raise NotImplementedError

    def decoder(self, feature_ids):
        raise NotImplementedError

    def pull_back(self, activation, gradient):
        raise NotImplementedError
