"""The inputs through which heads and MLPs read the residual stream, independent of a library's names."""

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
    and `v`; None for `mlp`, whose input is norm(x). `norm` is None where the part reads the stream itself;
    `frozen` are its parts.
    """

    point: InputPoint
    site: Site
    norm: Norm | None
    frozen: FrozenNorm | None
    weight: Float[Tensor, "head d_model d_head"] | None = None
    bias: Float[Tensor, "head d_head"] | None = None

    @property
    def n_heads(self) -> int:
        """How many heads read apart from each other; 1 for an MLP."""
        return 1 if self.weight is None else len(self.weight)

    def read(self, streams: Float[Tensor, "batch pos head d_model"]) -> Float[Tensor, "batch pos *input"]:
        """Computes the input from a residual stream of each head's own, in the shape of the point."""
        normed = streams if self.norm is None else self.norm(streams.flatten(1, 2)).view_as(streams)
        if self.weight is None:
            return normed[:, :, 0]
        read = torch.einsum("bphd,hde->bphe", normed, self.weight)
        return read if self.bias is None else read + self.bias

    def pulled_back(
        self,
        gradient: Float[Tensor, "batch pos *input"],
        scale: Float[Tensor, "batch pos"] | None,
        centred: Float[Tensor, "batch pos d_model"] | None = None,
    ) -> Float[Tensor, "head batch pos d_model"]:
        """Turns a gradient at the point into one at the stream that each head reads, in single precision.

        `scale` is the norm's at that stream x, None without a norm. A norm divides c (`centred`: x, less its
        mean if the norm takes it) by s with s^2 = mean(c^2) + epsilon, so the gradient is
        back - c (c . back) / (d_model s^2), where back is that with s held; without `centred` it is back.
        """
        wide = gradient.float()
        if scale is not None:
            wide = wide / scale.view(*scale.shape, *[1] * (wide.ndim - 2))
        if self.weight is None:
            back = (wide if self.frozen is None else self.frozen.pulled_back(wide))[None]
        else:
            weight = self.weight.float().mT  # [head, d_head, d_model]
            if self.frozen is not None:
                weight = self.frozen.pulled_back(weight)
            rows = wide.flatten(0, 1).transpose(0, 1)
            back = torch.bmm(rows, weight).view(len(weight), *wide.shape[:2], -1)
        if scale is None or centred is None:
            return back
        along = (back * centred).sum(-1, keepdim=True) / (centred.shape[-1] * scale.square())[..., None]
        return torch.addcmul(back, along, centred, value=-1)
