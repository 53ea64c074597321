"""What a run costs, from sizes alone: bytes held at the same time, operations, bytes moved."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

BYTES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}
"""Bytes of one number."""


@dataclass(frozen=True)
class MemoryPart:
    """Bytes that are held together with other parts, and the settings that make them fewer."""

    what: str
    bytes: int
    lower: str


@dataclass(frozen=True)
class Stage:
    """One stage of a run: the memory it holds at its peak, and its work.

    `flops` are floating-point operations of matrix products, `moved` the bytes that are read and written
    around them by operations that compute little, in the machine's memory (`on_host`) or the device's.
    """

    name: str
    parts: tuple[MemoryPart, ...]
    flops: float = 0.0
    moved: float = 0.0
    on_host: bool = False

    @property
    def bytes(self) -> int:
        """Bytes at the peak."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True)
class SubjectShape:
    """The sizes of a model that its cost depends on; the defaults are those of no model.

    `n_parameters` counts the embedding and the unembedding apart, as they are held here; `n_block_parameters`
    are those of one layer. `backend` is what `auto` means for this model.
    """

    name: str = ""
    n_parameters: int = 0
    n_block_parameters: int = 0
    n_layers: int = 1
    d_model: int = 1
    d_mlp: int = 1
    n_heads: int = 1
    d_vocab: int = 1
    backend: str = "bridge"


@dataclass(frozen=True)
class SpaceSize:
    """A feature space: how many features, of which layer, with one polarity or two, and its own weights."""

    n_features: int
    layer: int
    signed: bool
    weights: int = 0


def subject_part(shape: SubjectShape, dtype: str) -> MemoryPart:
    """The subject's weights."""
    return MemoryPart(
        "subject's weights", shape.n_parameters * BYTES[dtype], "subject.dtype or a smaller model"
    )


def loading_stage(shape: SubjectShape, dtype: str, backend: str) -> Stage:
    """Loading the subject; `hooked` holds the weights twice until those of `transformers` are converted."""
    weights = shape.n_parameters * BYTES[dtype]
    again = MemoryPart(
        "weights before their conversion", weights, "it to nothing with subject.backend: bridge"
    )
    converted = (shape.backend if backend == "auto" else backend) == "hooked"
    parts = (subject_part(shape, dtype), again) if converted else (subject_part(shape, dtype),)
    return Stage("load the subject", parts, 0.0, 4.0 * weights, True)


def pass_part(shape: SubjectShape, dtype: str, tokens: int, context_size: int, key: str) -> MemoryPart:
    """Activations of one layer of a forward pass: residual stream, gated MLP, attention patterns."""
    floats = 6 * shape.d_model + 4 * shape.d_mlp + 3 * shape.n_heads * context_size
    return MemoryPart("activations of a forward pass", tokens * floats * BYTES[dtype], key)


def forward_flops(shape: SubjectShape, layers: int) -> float:
    """Operations of a forward pass through the first `layers` layers, for one token (without attention's)."""
    return 2.0 * shape.n_block_parameters * layers


def neuron_spaces(shape: SubjectShape, layers: Iterable[int] | None = None) -> list[SpaceSize]:
    """The MLP neurons of these layers, of all if left out."""
    return [SpaceSize(shape.d_mlp, at, True) for at in (range(shape.n_layers) if layers is None else layers)]


def random_spaces(shape: SubjectShape, spaces: Iterable[SpaceSize]) -> list[SpaceSize]:
    """As many random directions at the layer of each space."""
    return [SpaceSize(one.n_features, one.layer, True, shape.d_model * one.n_features) for one in spaces]


def gigabytes(size: float | int) -> str:
    """A size in words: 1 GB is 1e9 bytes."""
    if size >= 1e15:
        return f"{size / 1e12:.3g} TB"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def machine_bytes() -> int | None:
    """All memory of this machine, free or not; None if it is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
