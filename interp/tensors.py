"""Safetensors files from outside: checks of their size, header and numbers."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from interp.errors import UserError
from interp.outside import open_file


@contextmanager
def opened(path: Path, fix: str, device: str = "cpu") -> Iterator[Any]:
    """Opens a file by `safetensors`, which checks its header; tensors are read when they are asked for.

    Raises:
        UserError: there is no such plain file, or it is damaged; also for errors of reading in the block.
    """
    open_file(path, fix).close()
    try:
        with safe_open(path, framework="pt", device=device) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UserError(f"the file cannot be read ({error})", str(path), fix) from error


def shapes(path: Path, fix: str) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a file, by name; reads the header alone.

    Raises:
        UserError: as `opened`.
    """
    with opened(path, fix) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (it is no mapping)


def read_tensors(path: Path, fix: str, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file.

    Raises:
        UserError: as `opened`.
    """
    with opened(path, fix, device) as file:
        return {name: file.get_tensor(name) for name in sorted(file.keys())}, file.metadata() or {}


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds NaN or an infinity, None if there is none; makes no copy."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel():
            low, high = torch.aminmax(tensor.detach())
            if not bool(low.isfinite() & high.isfinite()):
                return name
    return None


def check_finite(tensors: Mapping[str, Tensor], place: str, fix: str) -> None:
    """Raises UserError where a tensor holds NaN or an infinity; says which."""
    if (name := first_not_finite(tensors.items())) is not None:
        raise UserError(f"{name} holds numbers that are not finite", place, fix)


def check_file_finite(path: Path, fix: str) -> None:
    """Raises UserError if a tensor in a file holds NaN or an infinity; reads one tensor at a time."""
    with opened(path, fix) as file:
        tensors = ((name, file.get_tensor(name)) for name in sorted(file.keys()))
        if (name := first_not_finite(tensors)) is not None:
            raise UserError(f"{name} holds numbers that are not finite", str(path), fix)
