"""A norm with its scale held fixed, which makes it a linear map."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

TINY = 1e-6  # far below the root of a norm's epsilon
LARGE = 100.0  # makes a norm's epsilon negligible; its square still fits half precision


@dataclass(frozen=True, eq=False)
class FrozenNorm:
    """norm(x) = weight * (x - centred * mean(x)) / scale(x) + bias, for LayerNorm and RMSNorm.

    The parts are found by probing the model's own norm, so any library and any folded weights will do.
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
        """Probes a norm of activations [batch, pos, d_model] of this type."""
        ones = torch.ones(1, 1, d_model, device=device, dtype=dtype)
        signs = ones.clone()
        signs[..., 1::2] = -1  # mean 0 and scale 1, so that what comes out is the weight with these signs
        bias = norm(0 * ones).float()
        weight = (norm(LARGE * signs).float() - bias) * signs
        constant = norm(LARGE * ones).float() - bias
        centred = bool(constant.norm() < 0.5 * weight.norm())
        return cls(norm, dtype, weight.flatten(), bias.flatten(), centred)

    def scale(self, activation: Float[Tensor, "batch d_model"]) -> Float[Tensor, " batch"]:
        """What the norm divides by at these activations; its epsilon's root where it makes nothing of one."""
        empty = self.linear(activation.float()).norm(dim=-1, keepdim=True) == 0
        if bool(empty.any()):
            tiny = torch.full_like(activation, TINY)
            tiny[..., 1::2] *= -1
            activation = torch.where(empty, tiny, activation)
        normed = self.norm(activation.to(self.dtype)[None])[0].float()
        found: Tensor = self.linear(activation.float()).norm(dim=-1) / (normed - self.bias).norm(dim=-1)
        return found

    def linear(self, part: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """A part's term of scale(x) * (norm(x) - bias), which the terms of all parts of x sum to."""
        return self.weight * self.centre(part)

    def pulled_back(self, direction: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The direction v with <direction, norm(x) - bias> = <v, x> / scale(x)."""
        return self.centre(self.weight * direction)

    def centre(self, vector: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the norm divides by its scale: a vector, less its mean if the norm takes it."""
        return vector - vector.mean(-1, keepdim=True) if self.centred else vector
