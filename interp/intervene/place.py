"""Putting a changed activation in its place: at chosen positions, on the old norm."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def at(
    where: Bool[Tensor, "batch pos"] | bool,
    edited: Float[Tensor, "batch pos *width"],
    activation: Float[Tensor, "batch pos *width"],
) -> Float[Tensor, "batch pos *width"]:
    """`edited` at the chosen positions, `activation` elsewhere, to the bit."""
    if isinstance(where, bool):
        return edited if where else activation
    return torch.where(where.view(*where.shape, *[1] * (activation.ndim - 2)), edited, activation)


def with_norm_of(
    old: Float[Tensor, "*batch width"], moved: Float[Tensor, "*batch width"]
) -> Float[Tensor, "*batch width"]:
    """`moved`, scaled to the Euclidean norm of `old` at each position; zero stays zero."""
    smallest = torch.finfo(moved.dtype).tiny ** 0.5  # not `tiny`, by which a division overflows
    norm = moved.norm(dim=-1, keepdim=True).clamp(min=smallest)
    scaled: Tensor = moved * (old.norm(dim=-1, keepdim=True) / norm)
    return scaled
