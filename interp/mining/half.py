"""Activations in half precision, and what half precision cannot hold."""

import torch
from jaxtyping import Float
from torch import Tensor


def compact(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Converts to half precision, or to single precision if a value is larger than 65,504.

    Those that fit are rounded to half precision either way, so that no value depends on the others.
    """
    half = values.half()
    infinite = half.isinf()  # which minus infinity, at positions that do not count, is in both
    if not infinite.any() or not (beyond := infinite & values.isfinite()).any():
        return half
    return torch.where(beyond, values.float(), half.float())


def room_for(kept: Float[Tensor, "*shape"], new: Tensor) -> Float[Tensor, "*shape"]:
    """Returns `kept` in a precision that can also hold `new`: itself, or a copy in single precision."""
    return kept.to(torch.promote_types(kept.dtype, new.dtype))
