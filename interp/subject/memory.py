"""Memory that runs out while a model is loaded or run: which device is full, and what to lower."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from interp.device import out_of_memory
from interp.errors import UserError
from interp.subject.quiet import first_line

LOWER_MODEL = "dtype bfloat16, quantize 8bit or 4bit, device_map auto, a smaller model, or a larger machine"
LOWER_PASS = (
    f"fewer or shorter texts at once (tokens_per_batch, context_size), or what leaves room: {LOWER_MODEL}"
)
_GPU = re.compile(r"\bGPU (\d{1,3})\b")


def full(what: str, error: BaseException, device: torch.device | str, place: str, lower: str) -> UserError:
    """Makes the error for memory that ran out while `what`; `device` counts where PyTorch names no GPU."""
    named = _GPU.search(str(error))
    where = f"cuda:{named[1]}" if named else str(device)
    held = "the machine" if where == "cpu" else where
    return UserError(
        f"the memory of {held} is full while {what} ({first_line(error)})", place, f"use {lower}"
    )


@contextmanager
def fitting(what: str, device: torch.device, place: str, lower: str = LOWER_PASS) -> Iterator[None]:
    """Turns running out of memory in the block into a UserError that names the device and what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise full(what, error, device, place, lower) from error
