"""Weights as numbers, wherever and however a model keeps them: on a device, on the disk, in 8 or 4 bits."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from interp.subject.placement import is_offloaded
from interp.subject.quantized import unpacked


def plain(module: nn.Module, name: str = "weight") -> bool:
    """Whether a parameter is itself what the module computes with, and may be changed."""
    tensor = getattr(module, name)
    return tensor is None or bool(tensor.is_floating_point() and not tensor.is_meta)


def stored(module: nn.Module, dtype: torch.dtype, name: str = "weight") -> Tensor:
    """A module's parameter; a copy, loaded and unpacked, where it is not plain."""
    tensor: Tensor = getattr(module, name)
    if plain(module, name):
        return tensor
    if is_offloaded(module):
        from accelerate.utils import align_module_device

        loaded = align_module_device(module)
    else:
        loaded = nullcontext()
    with loaded, torch.no_grad():
        return unpacked(module, getattr(module, name), dtype).detach().clone()
