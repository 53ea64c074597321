"""The bundled models, each loaded once in a process."""

from functools import cache

import interp
from interp.subject import Subject

BACKENDS = ("hooked", "bridge")


@cache
def world_subject(backend: str = "hooked") -> Subject:
    return interp.load("world", backend, device="cpu")


@cache
def pydoc_subject(backend: str = "hooked") -> Subject:
    return interp.load("pydoc", backend, device="cpu")
