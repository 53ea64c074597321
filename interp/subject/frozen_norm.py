"""A norm as the linear map that it is once its scale is held fixed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LARGE = 100.0  # against which a norm's epsilon is nothing, and whose square half precision still holds


@dataclass(frozen=True, eq=False)
class FrozenNorm:
    """norm(x) = weight * (x - centred * mean(x)) / scale(x) + bias, for LayerNorm and RMSNorm.

    The parts are found by asking the model's own norm, whatever library it is in and whatever is folded.
    """

    norm: Callable[[Tensor], Tensor]
    dtype: torch.dtype
    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]
    centred: bool

    @classmethod
    @torch.no_grad()
    def of(
        cls, norm: Callable[[Tensor], Tensor], d_model: int, device: torch.device, dtype: torch.dtype
    ) -> "FrozenNorm":
        """A norm of [batch, pos, d_model] that takes activations of this type."""
        ones = torch.ones(1, 1, d_model, device=device, dtype=dtype)
        signs = ones.clone()
        signs[..., 1::2] = -1  # mean 0 and scale 1, so that what comes out is the weight with these signs
        bias = norm(0 * ones).float()
        weight = (norm(LARGE * signs).float() - bias) * signs
        constant = norm(LARGE * ones).float() - bias
        centred = bool(constant.norm() < 0.5 * weight.norm())
        return cls(norm, dtype, weight.flatten(), bias.flatten(), centred)

    def scale(self, activation: Float[Tensor, "batch d_model"]) -> Float[Tensor, " batch"]:
        """What the norm divides by at these activations."""
        normed = self.norm(activation.to(self.dtype)[None])[0].float()
        found: Tensor = self.linear(activation.float()).norm(dim=-1) / (normed - self.bias).norm(dim=-1)
        return found

    def linear(self, part: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What a part of an activation comes to, times the scale: the parts of x add up to norm(x) - bias."""
        return self.weight * self._centre(part)

    def pulled_back(self, direction: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The direction v with <direction, norm(x) - bias> = <v, x> / scale(x)."""
        return self._centre(self.weight * direction)

    def _centre(self, vector: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return vector - vector.mean(-1, keepdim=True) if self.centred else vector
