"""Whether another process would compute the same: versions of Python and packages, and the code itself."""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from interp.track.manifest import PACKAGES, version

COMPARED = tuple(name for name in PACKAGES if name not in ("wandb", "pyarrow", "pandas"))
"""Packages that decide what is computed."""


@cache
def code() -> dict[str, str]:
    """Returns versions by name, and a digest of the code of this package."""
    versions = {name: version(name) or "none" for name in COMPARED}
    return {"python": platform.python_version(), **versions, "code of interp": _digest("interp", "saes")}


def _digest(*packages: str) -> str:
    found = hashlib.blake2b(digest_size=6)
    for package in packages:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for file in sorted(Path(folder).rglob("*.py")):
                found.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Says in words in what two processes differ; empty if in nothing."""
    names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    return ", ".join(f"{name} {there.get(name)} there, {here.get(name)} here" for name in names)
