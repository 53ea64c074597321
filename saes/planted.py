"""Activations made of known features: a ground truth to test SAEs on."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.toys.superposition import sparse_features


class PlantedFeatures:
    """Sparse sums of given directions, as an endless `saes.stream.Source`.

    Feature i is 0 with probability 1 - density, else uniform in (0, 1]; an activation is the sum of the
    features' values times their directions. Directions need not be of unit length: those of a toy model's W
    give its hidden activations.

    Args:
        directions: A row for each feature.
        density: Probability that a feature is not 0.
        seed: With the cursor, decides what a buffer holds.
        buffer_tokens: Activations in a buffer.

    Raises:
        UserError: the density is not in (0, 1].
    """

    def __init__(
        self,
        directions: Float[Tensor, "feature d_in"],
        density: float | int,
        *,
        seed: int,
        buffer_tokens: int = 32768,
    ) -> None:
        if not 0 < density <= 1:
            raise UserError(f"a density of {density} is not a probability above 0", "density", "use (0, 1]")
        self.directions = directions.float()
        self.width = directions.shape[1]
        self._density = torch.tensor([float(density)])
        self._seed = seed
        self._buffer_tokens = buffer_tokens

    def features(self, cursor: int) -> Float[Tensor, "token feature"]:
        """The feature values that the buffer at `cursor` is made of."""
        seed = int(np.random.SeedSequence((self._seed, cursor)).generate_state(1, np.uint64)[0] >> 1)
        generator = torch.Generator().manual_seed(seed)
        return sparse_features(self._buffer_tokens, len(self.directions), self._density, generator)[
            0
        ].T.contiguous()

    def buffer(self, cursor: int) -> tuple[Float[Tensor, "token d_in"], int]:
        """The activations at `cursor`, and the next cursor."""
        return self.features(cursor) @ self.directions, cursor + 1
