"""Texts as vectors, for search and for classifying descriptions."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors whose inner product is their similarity."""

    @property
    def name(self) -> str:
        """Identifies the embedder: its model and everything else that its vectors depend on."""
        ...

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "text width"]:
        """One unit vector (float32) for each text, in the order given."""
        ...
