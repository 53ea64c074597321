"""The inputs through which attention heads and MLPs read the residual stream, independent of a library's names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.subject.frozen_norm import FrozenNorm
from interp.subject.site import Site

Part = Literal["q", "k", "v", "mlp"]
Norm = Callable[[Tensor], Tensor]


@dataclass(frozen=True, order=True)
class InputPoint:
    """Where a layer's part gets what it has read: `q`, `k`, `v` are the projections' outputs [batch, pos,
    head, d_head] (for keys and values one for each group of heads) before any rotation or norm of their own,
    `mlp` the MLP's input [batch, pos, d_model] after the norm."""

    part: Part
    layer: int

    def __str__(self) -> str:
        return f"{self.part} of layer {self.layer}"


@dataclass(frozen=True, eq=False)
class Reader:
    """What a part computes from the residual stream x: `norm`(x) @ `weight` + `bias`, for each of its heads.

    x is the activation at `site`. `weight` is [head, d_model, d_head] and `bias` [head, d_head] for `q`, `k`
    and `v`; None for `mlp`, whose input is norm(x). `norm` is None where the part reads the stream itself.
    """

    point: InputPoint
    site: Site
    norm: Norm | None
    weight: Float[Tensor, "head d_model d_head"] | None = None
    bias: Float[Tensor, "head d_head"] | None = None

    @property
    def n_heads(self) -> int:
        """How many heads read apart from each other; 1 for an MLP."""
        return 1 if self.weight is None else len(self.weight)

    def read(self, streams: Float[Tensor, "batch pos head d_model"]) -> Float[Tensor, "batch pos *input"]:
        """Computes the input from a residual stream of each head's own, in the shape of the point."""
        normed = self.normed(streams)
        if self.weight is None:
            return normed[:, :, 0]
        read = torch.einsum("bphd,hde->bphe", normed, self.weight)
        return read if self.bias is None else read + self.bias

    def pulled_back(
        self,
        stream: Float[Tensor, "batch pos d_model"],
        gradient: Float[Tensor, "batch pos *input"],
        held: bool = False,
    ) -> Float[Tensor, "batch pos head d_model"]:
        """Turns a gradient at the point into one at the stream that each head reads, through the norm.

        With `held`, the norm's scale is a constant of this stream.
        """
        if self.weight is None:
            back = gradient[:, :, None]
        else:
            back = torch.einsum("bphe,hde->bphd", gradient, self.weight)
        if self.norm is None:
            return back
        if held:
            norm = FrozenNorm.of(self.norm, stream.shape[-1], stream.device, stream.dtype)
            scale = norm.scale(stream.flatten(0, 1)).view(stream.shape[:2])
            return norm.pulled_back(back.float()) / scale[..., None, None]
        with torch.enable_grad():
            leaf = stream[:, :, None].expand_as(back).detach().requires_grad_()
            (found,) = torch.autograd.grad(self.normed(leaf), leaf, back)
        return found

    def normed(self, streams: Float[Tensor, "batch pos head d_model"]) -> Tensor:
        """Applies the norm, if there is one."""
        if self.norm is None:
            return streams
        flat: Tensor = self.norm(streams.flatten(1, 2))
        return flat.view_as(streams)
