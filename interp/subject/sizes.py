"""Compares the model that a configuration asks for with its weights, before memory is allocated."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules import module as torch_modules

from interp.errors import UserError, quoted

_COUNTS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "hidden_size", "n_embd", "d_model",
    "vocab_size", "num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads", "head_dim",
    "intermediate_size", "ffn_dim", "n_inner", "max_position_embeddings", "n_positions", "max_seq_len",
)  # fmt: skip
"""Fields that, if present, are whole numbers from 1, or a list with one for each layer."""
_MOST = 10_000_000
_MOST_OF = {"layer": 10_000, "label": 100_000}
_NO_COUNT = ("position", "theta", "window", "seq", "length", "ctx", "token", "context", "_id", "base", "seed")
_MOST_POSITIONS = 2**31
_FREE_BUFFERS = 2**28
"""Elements allowed for buffers such as masks, which are not in the files."""
_FIX = "use the configuration that belongs to the weights"


def check_numbers(values: Any, place: str, key: str = "") -> None:
    """Refuses numbers in a configuration that no model has (`transformers` makes lists as long as some).

    Raises:
        UserError: a count is not a whole number from 1, or is too large.
    """
    if isinstance(values, dict):
        for name, value in values.items():
            check_numbers(value, place, name)
    elif isinstance(values, list):
        for value in values:
            check_numbers(value, place, key)
    elif key in _COUNTS and values is not None and (type(values) is not int or values < 1):
        raise UserError(f"{key} is {quoted(values)}, not a whole number from 1", place, _FIX)
    elif isinstance(values, int):
        most = next((size for part, size in _MOST_OF.items() if part in key), _MOST)
        if key not in _COUNTS or "position" in key or "seq" in key:
            most = _MOST_POSITIONS if any(part in key for part in _NO_COUNT) else most
            most = 2**63 if "seed" in key or "theta" in key else most
        if abs(values) > most:
            raise UserError(f"{key} is {values:,}, more than any model has", place, _FIX)


@torch.no_grad()
def check_size(config: Any, stored: Mapping[str, tuple[int, ...]], place: str) -> None:
    """Builds the model without memory (on torch's meta device) and compares its size with the stored shapes.

    Raises:
        UserError: the tensors hold far less than the model would.
    """
    from transformers import AutoModelForCausalLM

    held = sum(map(math.prod, stored.values()))
    packed = 16 if getattr(config, "quantization_config", None) else 1
    most = packed * 3 * held + 1_000_000  # an embedding may serve as unembedding, too
    try:
        with torch.device("meta"), _counted(most, 50 * len(stored) + 10_000):
            AutoModelForCausalLM.from_config(config, attn_implementation="eager", trust_remote_code=False)
    except _TooLarge as error:
        raise UserError(
            f"its configuration asks for a model of {error}, and the weights hold {held:,} numbers in "
            f"{len(stored):,} tensors",
            place,
            _FIX,
        ) from None
    except Exception:  # other errors are reported where the model is loaded
        return


class _TooLarge(Exception):
    """Says how many parts or numbers are too many."""


@contextmanager
def _counted(most_numbers: int, most_parts: int) -> Iterator[None]:
    """Within the block, counts modules and numbers as they are made; raises `_TooLarge` past a bound."""
    numbers, masks, parts = 0, 0, 0

    def part(*_: Any) -> None:
        nonlocal parts
        parts += 1
        if parts > most_parts:
            raise _TooLarge(f"more than {most_parts:,} parts")

    def parameter(_: Any, __: str, made: Any) -> None:
        nonlocal numbers
        part()
        numbers += 0 if made is None else made.numel()
        if numbers > most_numbers:
            raise _TooLarge(f"more than {most_numbers:,} numbers")

    def buffer(_: Any, __: str, made: Any) -> None:
        nonlocal masks
        part()
        masks += 0 if made is None else made.numel()
        if masks > most_numbers + _FREE_BUFFERS:
            raise _TooLarge(f"more than {most_numbers + _FREE_BUFFERS:,} numbers in masks")

    handles = [
        torch_modules.register_module_module_registration_hook(part),
        torch_modules.register_module_parameter_registration_hook(parameter),
        torch_modules.register_module_buffer_registration_hook(buffer),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
