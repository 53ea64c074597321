"""What is held in memory, in bytes and in words."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Bytes that are held together with other parts, and the settings that make them fewer."""

    what: str
    bytes: int
    lower: str


def gigabytes(size: float | int) -> str:
    """A size in words: 1 GB is 1e9 bytes."""
    if size >= 1e15:
        return f"{size / 1e12:.3g} TB"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def machine_bytes() -> int | None:
    """All memory of this machine, free or not; None if it cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
