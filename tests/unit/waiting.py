"""Notices, without a GPU, what would make one wait: numbers the host asks for, and tensors left behind."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKS = (
    "aten._local_scalar_dense", "aten.item", "aten.is_nonzero", "aten.equal", "aten.nonzero.",
    "aten.nonzero_numpy",
    "aten.masked_select", "aten._unique", "aten.unique_", "aten.repeat_interleave.Tensor", "aten.bincount",
    "aten.histc", "aten.allclose",
)  # fmt: skip
"""Operations whose result, or its shape, the host has to wait for."""


class NoWaiting(TorchDispatchMode):
    """Within the block no operation waits for a device, were its tensors on one.

    Those on `host` have been sent before. On a CPU `tolist` and `numpy` go unnoticed: use the device "meta".
    """

    def __init__(self, one_device: bool = True) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self._one_device = one_device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, given = str(func), tree_leaves((args, kwargs or {}))
        self.seen.add(name)
        if name.startswith(ASKS):
            raise AssertionError(f"{name} makes the host wait")
        if name.startswith(("aten.index.", "aten.index_put", "aten._index_put")) and _booleans(args[1]):
            raise AssertionError(f"{name} by a mask makes the host wait")
        devices = {str(one.device) for one in given if isinstance(one, Tensor) and one.ndim}
        out = func(*args, **(kwargs or {}))
        devices |= {str(one.device) for one in tree_leaves(out) if isinstance(one, Tensor)}
        if self._one_device and len(devices) > 1:
            raise AssertionError(f"{name} has tensors on {', '.join(sorted(devices))}")
        return out


def _booleans(indices: Iterable[Any]) -> bool:
    return any(isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in indices)
