"""Exemplars in files that are mapped into memory: values are read and checked when they are asked for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from interp.document import Split
from interp.errors import UserError
from interp.mining.exemplars import N_BANDS, N_SILENT, ROWS_PER_BAND, Exemplars, TokenSample
from interp.tensors import read_tensors

_ROWS = ("band_row", "silent_row")
_SHAPES = {
    "top_document": ("n", "k"), "top_start": ("n", "k"), "top_value": ("n", "k"),
    "top_values": ("n", "k", "width"), "row_document": ("row",), "row_start": ("row",),
    "band_row": ("n", N_BANDS, ROWS_PER_BAND), "band_value": ("n", N_BANDS, ROWS_PER_BAND),
    "silent_row": ("n", N_SILENT), "quantile_values": ("d", "level"), "quantile_error": ("level",),
    "mean": ("d",), "rate": ("n",), "value": ("token", "d"), "document": ("token",), "position": ("token",),
}  # fmt: skip
_WHOLE = ("document", "start", "row", "position")
"""What a tensor of whole numbers is called, or ends with."""


_AGAIN = "delete the folder and mine again"

Kind = TypeVar("Kind")


class OnDemand(Mapping[Split, Kind]):
    """Something of each split, which is opened when it is first asked for."""

    def __init__(self, openers: Mapping[Split, Callable[[], Kind]]) -> None:
        self._openers, self._opened = openers, dict[Split, Kind]()

    def __getitem__(self, split: Split) -> Kind:
        if split not in self._opened:
            self._opened[split] = self._openers[split]()
        return self._opened[split]

    def __iter__(self) -> Iterator[Split]:
        return iter(self._openers)

    def __len__(self) -> int:
        return len(self._openers)

    def __contains__(self, split: object) -> bool:
        return split in self._openers


class _Mapped:
    """Tensors of a file; each is held to be numbers the first time that it is asked for as a whole."""

    _space: str
    _file: Path
    _tensors: Mapping[str, Tensor]

    def __getattr__(self, name: str) -> Tensor:
        tensors: Mapping[str, Tensor] = self.__dict__.get("_tensors", {})
        if name not in tensors:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        self._check(tensors[name])
        self.__dict__[name] = tensors[name]  # found there from now on
        return tensors[name]

    def _open(self, space: str, file: Path, signed: bool | None = None) -> None:
        """Maps a file's tensors, whose names, shapes and kinds have to fit; reads none."""
        self._space, self._file = space, file
        self._tensors, _ = read_tensors(file, _AGAIN)
        wanted = [field.name for field in fields(type(self)) if field.name in _SHAPES]  # type: ignore[arg-type]
        if odd := set(wanted) ^ self._tensors.keys():
            raise self._damaged(f"its tensors lack, or should not have, {', '.join(sorted(odd))}")
        sizes = {}
        if signed is not None:
            sizes["d"] = self._tensors["mean"].numel()
            sizes["n"] = 2 * sizes["d"] if signed else sizes["d"]
        for name in wanted:
            tensor = self._tensors[name]
            shape = tuple(tensor.shape)
            known = tuple(
                sizes.setdefault(of, size) if isinstance(of, str) else of
                for of, size in zip(_SHAPES[name], shape, strict=False)
            )
            if shape != known or len(shape) != len(_SHAPES[name]):
                raise self._damaged(f"{name} has the shape {list(shape)}")
            if tensor.is_floating_point() == name.endswith(_WHOLE):
                raise self._damaged(f"{name} holds {tensor.dtype}")

    def _check(self, values: Tensor) -> None:
        """Raises UserError where one of these values is NaN or positive infinity."""
        if not values.is_floating_point() or not values.numel():
            return
        most = values.max()  # NaN if one is
        if most.isnan():
            raise self._damaged(f"activations of {self._space} are no numbers (NaN)")
        if most == torch.inf:
            raise UserError(
                f"activations of {self._space} were larger than half precision holds when they were kept",
                str(self._file),
                "mine the corpus again",
            )

    def _damaged(self, what: str) -> UserError:
        return UserError(what, str(self._file), _AGAIN)


class MappedExemplars(_Mapped, Exemplars):
    """Exemplars of a file.

    The windows of a feature are read and checked by themselves, any other tensor as a whole when it is first
    asked for.

    Raises:
        UserError: the file is damaged or holds no exemplars; later, where values are asked for: they are NaN,
            infinite, or point at no row.
    """

    def __init__(self, space: str, file: Path, signed: bool, n_tokens: int) -> None:
        self.signed, self.n_tokens = signed, n_tokens
        self._open(space, file, signed)

    def _of(self, name: str, line: int) -> Tensor:
        values = self._tensors[name][line]
        self._check(values)
        if name in _ROWS and int(values.max()) >= len(self._tensors["row_document"]):
            raise self._damaged(f"a window of {self._space} is in no row of the sample")
        return values


class MappedSample(_Mapped, TokenSample):
    """A token sample of a file, checked when it is asked for; raises as `MappedExemplars`."""

    def __init__(self, space: str, file: Path) -> None:
        self._open(space, file)
