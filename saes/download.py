"""The files of a published SAE: from the hub's cache, or from the hub where it can be reached."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from interp.errors import UserError
from interp.subject.quiet import first_line, quiet
from interp.tensors import shapes
from saes.release import Release

_REACHED_WITHIN_SECONDS = 3.0


def missing_files(release: Release) -> list[str]:
    """The files of the release that are not in the hub's cache."""
    return [name for name in release.files if _cached(release.repo, name) is None]


def cached_files(release: Release) -> dict[str, Path]:
    """Where the cache has each of the release's files."""
    found = {name: _cached(release.repo, name) for name in release.files}
    return {name: path for name, path in found.items() if path is not None}


def check_available(release: Release) -> None:
    """Raises UserError if files are missing and the hub cannot be reached; says how to get them."""
    missing = missing_files(release)
    if missing and not _hub_reachable():
        raise _unavailable(release, missing, "the hub cannot be reached")


def fetch(release: Release) -> None:
    """Downloads the files that are not in the cache. An unreachable hub is noticed within seconds.

    Raises:
        UserError: the hub cannot be reached, or does not give the files; says how to get them.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    check_available(release)
    missing = missing_files(release)
    if not missing:
        return
    optional = release.format.optional(release.path)
    for name in (*missing, *optional):
        try:
            hf_hub_download(release.repo, name)
        except Exception as error:  # of many classes: unknown, gated, disk full, cut off
            absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            if absent and name in optional:
                continue
            raise _unavailable(release, missing, first_line(error)) from error


@contextmanager
def from_cache() -> Iterator[None]:
    """Makes SAELens load from the cache alone; otherwise it asks the hub about every file, cached or not.

    Its Gemma 3 loader would also ask the hub for the weights' shapes: here they come from the cached file.
    Pickles are read as tensors only (`weights_only`), whatever PyTorch's default is.
    """
    from huggingface_hub import constants
    from sae_lens.loading import pretrained_sae_loaders

    offline = constants.HF_HUB_OFFLINE
    asked = pretrained_sae_loaders.get_safetensors_tensor_shapes
    constants.HF_HUB_OFFLINE = True
    pretrained_sae_loaders.get_safetensors_tensor_shapes = _cached_shapes
    loads = torch.load
    torch.load = partial(loads, weights_only=True)
    try:
        with quiet():
            yield
    finally:
        torch.load = loads
        constants.HF_HUB_OFFLINE = offline
        pretrained_sae_loaders.get_safetensors_tensor_shapes = asked


def _cached(repo: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name)
    return Path(found) if isinstance(found, str) else None


def _cached_shapes(repo: str, name: str) -> dict[str, Any]:
    path = _cached(repo, name)
    if path is None:
        raise FileNotFoundError(name)
    return {key: list(shape) for key, shape in shapes(path, "download it again").items()}


def _hub_reachable() -> bool:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # the proxy may reach the hub: leave it to the hub's own client
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_REACHED_WITHIN_SECONDS).close()
    except OSError:
        return False
    return True


def _unavailable(release: Release, missing: list[str], why: str) -> UserError:
    from huggingface_hub import constants

    return UserError(
        f"{release} is not in the cache, and {why}",
        f"cache {constants.HF_HUB_CACHE} (set HF_HOME to move it)",
        f"where there is a network: hf download {release.repo} {' '.join(missing)}",
    )
