"""A device that is not the CPU, on a machine that has none: to see what would be left on another device.

Its tensors say that they are on "meta", and hold their numbers on the CPU; as on a GPU, an operation on
tensors of both raises, and only what names a device moves. What a GPU computes otherwise is not seen here,
nor may a tensor be indexed by a list, which PyTorch leaves without numbers on "meta".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from interp.subject import Subject

ELSEWHERE = torch.device("meta")
_INDEXED = (
    "aten.index.Tensor",
    "aten.index_put_.default",
    "aten.index_put.default",
    "aten._index_put_impl_.default",
)
_MOVES = ("aten._to_copy.default", "aten.copy_.default")


class There(Tensor):
    """A tensor elsewhere; `inner` are its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "There":
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=ELSEWHERE,
            requires_grad=inner.requires_grad,
        )  # fmt: skip

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({tuple(self.shape)})"

    def tolist(self) -> Any:
        """Numbers may be asked for anywhere."""
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """An array is of the CPU's memory."""
        raise AssertionError("a tensor elsewhere has no array: move it to the CPU")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = str(func)
    flat, spec = tree_flatten((args, kwargs))
    tensors = [one for one in flat if isinstance(one, Tensor)]
    there = [one for one in tensors if isinstance(one, There)]
    target = kwargs.get("device")
    goes = torch.device(target) == ELSEWHERE if target is not None else bool(there)
    if name == "aten.copy_.default":
        goes = isinstance(args[0], There)
    elif there and name not in _MOVES:
        checked = [args[0], *(args[2:3] if "put" in name else [])] if name in _INDEXED else tensors
        for one in checked:
            if isinstance(one, Tensor) and not isinstance(one, There) and one.ndim:
                raise AssertionError(
                    f"{name} has tensors on two devices: {[type(t).__name__ for t in tensors]}"
                )
    inner_args, inner_kwargs = tree_unflatten(
        [one.inner if isinstance(one, There) else one for one in flat], spec
    )
    if target is not None:
        inner_kwargs["device"] = torch.device("cpu")
    out = func(*inner_args, **inner_kwargs)
    originals = {id(one.inner): one for one in there}

    def back(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        if id(one) in originals:  # in place
            return originals[id(one)]
        if not goes:
            return one
        return There(one)

    return tree_map(back, out)


class _Made(TorchDispatchMode):
    """Makes tensors elsewhere where that device is named."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Told(TorchFunctionMode):
    """Makes a tensor of Python's numbers elsewhere, which PyTorch leaves empty on "meta"."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        place = given.get("device")
        if func in (torch.tensor, torch.as_tensor) and place is not None and torch.device(place) == ELSEWHERE:
            return There(func(*args, **{**given, "device": "cpu"}))
        return func(*args, **given)


@contextmanager
def elsewhere(subject: Subject) -> Iterator[Subject]:
    """Within the block a subject, and what is made there, is elsewhere; its weights stay there."""
    modules = [subject.model, *([subject.model.original_model] if subject.backend == "bridge" else [])]
    with _Told(), _Made():
        for module in {id(m): m for model in modules for m in model.modules()}.values():
            for name, value in list(module._parameters.items()):
                if value is not None and not isinstance(value.data, There):
                    module._parameters[name] = torch.nn.Parameter(There(value.data), requires_grad=False)
            for name, value in list(module._buffers.items()):
                if value is not None and not isinstance(value, There):
                    module._buffers[name] = There(value)
        subject.device = ELSEWHERE
        config = getattr(subject.model, "cfg", None)
        if config is not None:
            config.device = str(ELSEWHERE)
        yield subject
