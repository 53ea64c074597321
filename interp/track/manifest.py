"""What a number depends on besides the config: versions, revision of the code, hardware."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    *("interp", "torch", "transformer-lens", "sae-lens", "transformers", "tokenizers", "safetensors"),
    *("numpy", "scipy", "pandas", "pyarrow", "pydantic", "wandb"),
)


def surroundings() -> dict[str, Any]:
    """Return versions of Python and the key packages, the git revision and hardware."""
    return {
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "git": git_revision(Path(__file__).parent),
        "hardware": hardware(),
    }


def git_revision(folder: Path) -> dict[str, Any] | None:
    """Return the revision checked out around `folder` and whether files differ from it; None outside git."""
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        return {"revision": revision, "dirty": bool(_git(folder, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def hardware() -> dict[str, Any]:
    """Return platform, processor, usable cores, memory in GiB and the GPU if torch sees one."""
    gpu = None
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "gpu": gpu,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def version(package: str) -> str | None:
    """Return the installed version of a package; None without it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
