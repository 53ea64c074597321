"""What a run costs, from sizes alone: bytes held and written, work by its rate, calls to endpoints."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Amount = float | int
"""A number that may be whole."""
BYTES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}
"""Bytes of one number."""
QUANTIZED = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""Bytes of one quantised weight; four bits have a float32 scale for each block of 64 (QLoRA's NF4)."""
BYTES_A_TOKEN = 4.0
"""Bytes per token of English text with usual vocabularies."""
FULL = 1 << 20
"""Tokens of a document that fills every row."""
MOST_ROWS = 64
"""Rows of a document that count in a mean; the last, shorter one of a longer document hardly does."""
RateName = Literal[
    "product", "forward", "forward_large", "learn", "learn_sparse", "device_memory", "host_memory", "load",
    "disk", "generated", "mined", "entered", "read_out", "read", "patterns", "tried", "scored", "asked",
    "stored", "decoded", "prompt_tokens", "completion_tokens",
]  # fmt: skip
"""What a machine does per second; `interp.plan.machine` says the unit of each, and where it comes from."""
RATE_NAMES: tuple[RateName, ...] = get_args(RateName)
Where = Literal["device", "host"]


@dataclass(frozen=True)
class MemoryPart:
    """Bytes that are held together with other parts, the settings that make them fewer, and where they are.

    On a subject that runs on the CPU both places are the same memory.
    """

    what: str
    bytes: int
    lower: str
    where: Where = "device"


@dataclass(frozen=True)
class DiskPart:
    """Bytes that a run writes into files, and whether they are there when it has ended."""

    what: str
    bytes: int
    stays: bool = True


@dataclass(frozen=True)
class Calls:
    """What a stage asks of an endpoint: calls, and their tokens; `usd` is None where a price is not known."""

    purpose: str
    calls: Amount
    prompt_tokens: Amount
    completion_tokens: Amount
    usd: Amount | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of a run: the memory it holds at its peak, its work, and what it writes and asks.

    `work` maps the name of a rate to how much is done at it. A stage that `shards` can be divided among
    workers that each hold the subject.
    """

    name: str
    parts: tuple[MemoryPart, ...] = ()
    work: tuple[tuple[RateName, Amount], ...] = ()
    disk: tuple[DiskPart, ...] = ()
    asked: tuple[Calls, ...] = ()
    shards: bool = False

    @property
    def bytes(self) -> int:
        """Bytes at the peak, of the device and the host together."""
        return sum(part.bytes for part in self.parts)

    def bytes_on(self, where: Where) -> int:
        """Bytes at the peak on the device, or in the host's memory."""
        return sum(part.bytes for part in self.parts if part.where == where)

    def amount(self, *rates: RateName) -> Amount:
        """How much is done at some rates."""
        return sum(amount for rate, amount in self.work if rate in rates)


def joined(name: str, stages: Sequence[Stage]) -> Stage:
    """Stages one after the other as one: the memory is that of the largest."""
    largest = max(stages, key=lambda stage: stage.bytes)
    return Stage(
        name,
        largest.parts,
        tuple(one for stage in stages for one in stage.work),
        tuple(one for stage in stages for one in stage.disk),
        tuple(one for stage in stages for one in stage.asked),
        all(stage.shards for stage in stages),
    )


@dataclass(frozen=True)
class SubjectShape:
    """The sizes of a model that its cost depends on; the defaults are those of no model.

    `n_parameters` counts the embedding and the unembedding apart, as they are held here; `n_block_parameters`
    are those of one layer. `backend` is what `auto` means for this model; `quantize` (8bit, 4bit) is how the
    weights of its layers are held.
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
    quantize: str | None = None


@dataclass(frozen=True)
class TextSize:
    """The size of a corpus: its tokens, the lengths of some of its documents, and bytes of text per token.

    Without `lengths`, documents fill their rows. `generated` documents are made each time they are read.
    """

    tokens: int
    lengths: tuple[int, ...] = (FULL,)
    token_bytes: Amount = BYTES_A_TOKEN
    generated: bool = False

    def making(self, tokens: Amount) -> tuple[tuple[RateName, Amount], ...]:
        """The work of having so many tokens of its documents; tokenising is little and not counted."""
        return (("generated", tokens),) if self.generated else ()

    def row_tokens(self, context_size: int, strong: bool = False) -> Amount:
        """Tokens of a row on average, without the one that begins it; of a `strong` one.

        A window in which a feature peaks is drawn as a token is: longer rows have it more often.
        """
        rows = self._rows(context_size)
        return sum(row * row for row in rows) / sum(rows) if strong else sum(rows) / len(rows)

    def positions(self, context_size: int) -> Amount:
        """Positions that a subject computes for the whole text: each row has one more than its tokens."""
        return self.tokens * (1 + 1 / self.row_tokens(context_size))

    def n_rows(self, context_size: int) -> Amount:
        """Number of rows."""
        return self.tokens / self.row_tokens(context_size)

    def _rows(self, context_size: int) -> list[int]:
        room = max(1, context_size - 1)
        rows = []
        for length in self.lengths:
            whole, rest = divmod(length, room)
            rows += [room] * min(whole, MOST_ROWS) + ([rest] if rest and whole <= MOST_ROWS else [])
        return rows or [room]


@dataclass(frozen=True)
class SpaceSize:
    """A feature space: how many features, of which layer, with one polarity or two, and its own weights."""

    n_features: int
    layer: int
    signed: bool
    weights: int = 0

    @property
    def lines(self) -> int:
        """Features and polarities."""
        return self.n_features * (2 if self.signed else 1)


def number_bytes(dtype: str) -> int:
    """Bytes of one number; of `auto` two, as published weights have."""
    return BYTES.get(dtype, 2)


def weight_bytes(shape: SubjectShape, dtype: str) -> int:
    """Bytes of a subject's weights; quantised are those of its layers, not the embeddings."""
    in_layers = shape.n_block_parameters * shape.n_layers if shape.quantize in QUANTIZED else 0
    rest = (shape.n_parameters - in_layers) * number_bytes(dtype)
    return round(rest + in_layers * QUANTIZED.get(shape.quantize or "", 0.0))


def subject_part(shape: SubjectShape, dtype: str) -> MemoryPart:
    """The subject's weights."""
    return MemoryPart("subject's weights", weight_bytes(shape, dtype), "subject.dtype or a smaller model")


def loading_stage(shape: SubjectShape, dtype: str, backend: str) -> Stage:
    """Loading the subject; `hooked` holds the weights twice until those of `transformers` are converted."""
    weights = weight_bytes(shape, dtype)
    again = MemoryPart(
        "weights before their conversion", weights, "it to nothing with subject.backend: bridge"
    )
    converted = (shape.backend if backend == "auto" else backend) == "hooked"
    held = subject_part(shape, dtype)
    work: tuple[tuple[RateName, Amount], ...] = (("load", float(shape.n_parameters)),)
    return Stage("load the subject", (held, again) if converted else (held,), work)


def pass_part(shape: SubjectShape, dtype: str, tokens: int, context_size: int, key: str) -> MemoryPart:
    """Activations of one layer of a forward pass: residual stream, gated MLP, attention patterns."""
    floats = 6 * shape.d_model + 4 * shape.d_mlp + 3 * shape.n_heads * context_size
    return MemoryPart("activations of a forward pass", tokens * floats * number_bytes(dtype), key)


def forward_flops(shape: SubjectShape, layers: int, logits: bool = False) -> Amount:
    """Operations of a forward pass through the first `layers` layers, for one token (without attention's)."""
    return 2.0 * (shape.n_block_parameters * layers + (shape.d_model * shape.d_vocab if logits else 0))


def neuron_spaces(shape: SubjectShape, layers: Iterable[int] | None = None) -> list[SpaceSize]:
    """The MLP neurons of these layers, of all if left out."""
    return [SpaceSize(shape.d_mlp, at, True) for at in (range(shape.n_layers) if layers is None else layers)]


def random_spaces(shape: SubjectShape, spaces: Iterable[SpaceSize]) -> list[SpaceSize]:
    """As many random directions at the layer of each space."""
    return [SpaceSize(one.n_features, one.layer, True, shape.d_model * one.n_features) for one in spaces]


def deepest(spaces: Sequence[SpaceSize]) -> int:
    """Number of layers that a pass has to go through to read all of some spaces."""
    return 1 + max(space.layer for space in spaces)


def gigabytes(size: Amount) -> str:
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
