"""The final norm as the linear map that it is once its scale is held fixed."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.subject.subject import Subject

LARGE = 100.0  # against which a norm's epsilon is nothing, and whose square half precision still holds


@dataclass(frozen=True, eq=False)
class FrozenNorm:
    """norm(x) = weight * (x - centred * mean(x)) / scale(x) + bias, for LayerNorm and RMSNorm.

    The parts are found by asking the model's own norm, whatever library it is in and whatever is folded.
    """

    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]
    centred: bool
    subject: Subject

    @classmethod
    @torch.no_grad()
    def of(cls, subject: Subject) -> "FrozenNorm":
        """The final norm of a subject."""
        ones = torch.ones(1, 1, subject.d_model, device=subject.device, dtype=subject.dtype)
        signs = ones.clone()
        signs[..., 1::2] = -1  # mean 0 and scale 1, so that what comes out is the weight with these signs
        bias = subject.final_norm(0 * ones).float()
        weight = (subject.final_norm(LARGE * signs).float() - bias) * signs
        constant = subject.final_norm(LARGE * ones).float() - bias
        centred = bool(constant.norm() < 0.5 * weight.norm())
        return cls(weight.flatten(), bias.flatten(), centred, subject)

    def scale(self, resid: Float[Tensor, "batch d_model"]) -> Float[Tensor, " batch"]:
        """What the norm divides by at these activations."""
        normed = self.subject.final_norm(resid.to(self.subject.dtype)[None])[0].float()
        linear = self.weight * self._centre(resid.float())
        scale: Tensor = linear.norm(dim=-1) / (normed - self.bias).norm(dim=-1)
        return scale

    def pulled_back(self, direction: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The direction v with <direction, norm(x) - bias> = <v, x> / scale(x)."""
        return self._centre(self.weight * direction)

    def _centre(self, vector: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return vector - vector.mean(-1, keepdim=True) if self.centred else vector
