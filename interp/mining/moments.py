"""What is summed up of every activation of a batch, in one or two readings of it.

On a GPU, mining costs what reading the activations costs, so these passes are fused by `torch.compile` where
its compiler, Triton, is there. Elsewhere, or if it fails, the same function runs as it stands: five readings
of the activations and two of masks, where a fused one reads them twice.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torch._dynamo
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.utils._triton import has_triton

from interp.mining.extremes import both_sides, by_group

MOST_GRAPHS = 32
"""Graphs that may be made: signed or not, masked or not, with or without a rest of a group, by layout."""


class Moments(NamedTuple):
    """Sums over rows and positions that count, and the peaks of neighbouring positions, both polarities."""

    total: Float[Tensor, " d"]
    n_positive: Int64[Tensor, " d"]
    n_negative: Int64[Tensor, " d"]
    groups: Float[Tensor, "row group feature"]


def moments(
    activations: Float[Tensor, "row pos d"], counts: Bool[Tensor, "row pos"] | None, signed: bool, width: int
) -> Moments:
    """Sums up a batch; groups are of `width` neighbouring positions. Nothing waits for a device."""
    counted = high = low = activations
    if counts is not None:
        hidden = ~counts[:, :, None]
        counted = activations.masked_fill(hidden, 0)
        high = activations.masked_fill(hidden, -torch.inf)
        low = activations.masked_fill(hidden, torch.inf)
    total = counted.sum(1, dtype=torch.float32).sum(0)
    n_positive, n_negative = (counted > 0).sum((0, 1)), (counted < 0).sum((0, 1))
    if not signed:
        groups = by_group(torch.amax, high, width)
    elif counts is None:
        groups = by_group(both_sides, activations, width)
    else:
        groups = torch.cat([by_group(torch.amax, high, width), by_group(torch.amin, low, width).neg()], 2)
    return Moments(total, n_positive, n_negative, groups)


def moments_on_device(
    activations: Float[Tensor, "row pos d"], counts: Bool[Tensor, "row pos"] | None, signed: bool, width: int
) -> Moments:
    """As `moments`, fused on a GPU."""
    return (_fused() if activations.is_cuda else moments)(activations, counts, signed, width)


@cache
def _fused() -> Callable[..., Moments]:
    """The compiled function, or after a failure, and without Triton, the plain one."""
    if not has_triton():
        return moments
    compiled, broken = torch.compile(moments, dynamic=True), list[str]()

    def fused(*given: Any) -> Moments:
        if broken:
            return moments(*given)
        try:
            with torch._dynamo.config.patch(recompile_limit=MOST_GRAPHS):
                found: Moments = compiled(*given)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers fail in many ways, and the plain function does the same
            broken.append(str(error))
            warnings.warn(f"mining runs without torch.compile, which failed: {error}", stacklevel=2)
            return moments(*given)
        return found

    return fused
