"""Memory: how much a device has left, and what to lower where it runs out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from interp.device import out_of_memory
from interp.errors import UserError

LOWER_TRAINING = "lower sae.n_latents, sae.buffer_tokens or sae.batch_tokens, or set sae.dtype: bfloat16"
LOWER_LOADING = "use an SAE with fewer latents, dtype bfloat16, a smaller model, or a device with more memory"


def available_bytes(device: torch.device | str) -> int | None:
    """Free memory of a device: of the GPU, or of the machine for a CPU. None if it is not known."""
    where = torch.device(device)
    if where.type == "cuda":
        free, _ = torch.cuda.mem_get_info(where)
        return int(free)
    if where.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    found = [free for free in (_machine(), _container()) if free is not None]
    return min(found, default=None)


def _machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kib is None else int(kib) * 1024


def _container() -> int | None:
    """Bytes left under a container's limit (cgroup v2); its inactive page cache counts as free."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return int(limit) - used + int(statistics.get("inactive_file", 0)) if limit.isdecimal() else None


@contextmanager
def explained(what: str, place: str = "memory", fix: str = LOWER_TRAINING) -> Iterator[None]:
    """Turns running out of memory inside the block into a UserError that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"memory ran out while {what} ({first[:200]})", place, fix) from error
