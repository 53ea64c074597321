"""Mining states on disk: every tensor and number of a state, so that a stopped run goes on from it."""

import json
from collections.abc import Iterator, MutableMapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.errors import UserError
from interp.mining.extremes import Extremes
from interp.mining.fold import MiningState
from interp.tensors import read_tensors
from interp.track.files import write_safetensors

_FIX = "delete it, and what it holds is mined again"


def save_state(path: Path, state: MiningState, metadata: MutableMapping[str, str]) -> None:
    """Writes a state with some metadata, whole or not at all.

    Raises:
        UserError: the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, int] = {}
    for name, _, _, value in _leaves(state.splits, ""):
        if isinstance(value, Extremes):
            tensors[name] = value.value.cpu().contiguous()
        elif isinstance(value, Tensor | np.ndarray):
            tensors[name] = torch.as_tensor(value).cpu().contiguous()
        else:
            numbers[name] = value
    write_safetensors(path, tensors, {**metadata, "numbers": json.dumps(numbers)})


def load_state(path: Path, empty: MiningState) -> tuple[MiningState, dict[str, str]]:
    """Reads a state into an empty one of the same spaces and config; returns it with the metadata.

    Raises:
        UserError: the file is damaged, or of other spaces or settings.
    """
    tensors, metadata = read_tensors(path, _FIX)
    try:
        numbers = json.loads(metadata.pop("numbers"))
        for name, holder, key, value in list(_leaves(empty.splits, "")):
            if isinstance(value, Extremes):
                _put(holder, key, Extremes(tensors[name]))
            elif isinstance(value, np.ndarray):
                _put(holder, key, tensors[name].numpy())
            elif isinstance(value, Tensor):
                _put(holder, key, tensors[name].to(value.device))
            else:
                _put(holder, key, numbers[name])
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"it is no mining state of these spaces ({error})", str(path), _FIX) from None
    return empty, metadata


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yields every tensor, array and number under a value: its name, its holder, its key there, itself."""
    keys = list(value) if isinstance(value, dict) else [field.name for field in fields(value)]
    for key in keys:
        one = value[key] if isinstance(value, dict) else getattr(value, key)
        if isinstance(one, dict) or is_dataclass(one):
            yield from _leaves(one, f"{name}/{key}")
        else:
            yield f"{name}/{key}", value, key, one


def _put(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, dict):
        holder[key] = value
    else:
        setattr(holder, key, value)
