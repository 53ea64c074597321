"""Replaces the attention pattern where a model's own attention computes it, without a hook point."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SOFTMAX = (torch.nn.functional.softmax, torch.softmax, Tensor.softmax)


class _Replacing(TorchFunctionMode):
    def __init__(self, function: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        self._function = function

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func not in SOFTMAX:
            return found
        replaced = self._function(found)
        return found if replaced is None else replaced.to(found.dtype)


@contextmanager
def softmax_replaced(module: nn.Module, function: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Within the block `function` sees, and may replace, the softmax of each call of an attention module."""
    modes: list[ExitStack] = []

    def enter(_: nn.Module, given: tuple[Any, ...]) -> None:
        modes.append(ExitStack())
        modes[-1].enter_context(_Replacing(function))

    def leave(_: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        modes.pop().close()

    handles = (
        module.register_forward_pre_hook(enter),
        module.register_forward_hook(leave, always_call=True),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
