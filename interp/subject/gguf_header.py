"""The head of a GGUF file, read within bounds: what it says of itself is held to the file's size.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The readers of `gguf` and of
`transformers` believe every number in it, and make an object of each element of a list: this comes first.
"""

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from interp.errors import UserError, quoted
from interp.outside import MEBIBYTE, open_file

COPY_GGUF = "give a GGUF file of a causal language model; copy it again if it was one"
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Types of values, by their number in the file, as `struct` names them."""
_TEXT, _LIST = 8, 9
_MOST_FIELDS, _MOST_TENSORS, _MOST_LAYERS, _MOST_AXES = 10_000, 100_000, 10_000, 4
_MOST_ELEMENTS = 4_000_000
"""Elements of all lists: four times a vocabulary larger than any, with its scores, types and merges."""
_LONGEST_NAME, _LONGEST_TOKEN, _LONGEST_TEXT = 2**16, 1024, MEBIBYTE
_MOST_TEXT = 64 * MEBIBYTE
_F32, _F16 = 0, 1


@dataclass
class GgufHeader:
    """Single values of the metadata by their keys, and each tensor's shape (`torch`'s order) and type."""

    values: dict[str, float | int | str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        """The narrowest float type that holds its matrices exactly; `bfloat16` where they are quantised."""
        matrices = {self.types[name] for name, shape in self.shapes.items() if len(shape) > 1}
        if matrices <= {_F32, _F16}:
            return "float32" if _F32 in matrices else "float16"
        return "bfloat16"


def read_gguf_header(path: Path) -> GgufHeader:
    """Reads the head of a GGUF file (version 2 or 3), which needs the package `gguf` for the sizes of blocks.

    Raises:
        UserError: it is no plain file, is damaged or too short, or says what no model has.
    """
    with open_file(path, COPY_GGUF) as file:
        head = _Head(file, path.stat().st_size)
        try:
            return head.read()
        except _Damaged as error:
            raise UserError(f"the GGUF file cannot be used: {error}", str(path), COPY_GGUF) from None


class _Damaged(Exception):
    """Says what is wrong."""


class _Head:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.elements = 0
        self.text = 0

    def read(self) -> GgufHeader:
        if self.bytes(4) != b"GGUF":
            raise _Damaged("it does not begin with GGUF")
        version, n_tensors, n_fields = self.numbers("IQQ")
        if version not in (2, 3):
            raise _Damaged(f"version {version} of the format is not known")
        if n_fields > _MOST_FIELDS or n_tensors > _MOST_TENSORS:
            raise _Damaged(f"{n_fields:,} fields and {n_tensors:,} tensors are more than any model has")
        found = GgufHeader()
        for _ in range(n_fields):
            key = self.string(_LONGEST_NAME)
            value = self.value(*self.numbers("I"))
            if value is not None:
                found.values[key] = value
        layers = [value for key, value in found.values.items() if key.endswith(".block_count")]
        if any(not isinstance(n, int) or not 0 < n <= _MOST_LAYERS for n in layers):
            raise _Damaged(f"{layers[0]} layers")
        if (parts := found.values.get("split.count", 1)) not in (0, 1):
            raise _Damaged(f"it is one of {parts} parts; join them first (llama-gguf-split --merge)")
        ends = [self.tensor(found) for _ in range(n_tensors)]
        if not ends:
            raise _Damaged("it has no tensors")
        room = self.size - self.file.tell()
        if sum(size for _, size in ends) > room or max(start + size for start, size in ends) > room:
            raise _Damaged(f"its tensors are larger than the file ({self.size:,} bytes): it was cut off")
        return found

    def tensor(self, found: GgufHeader) -> tuple[int, int]:
        """Reads one tensor's name, shape and type; returns where it starts and its size, in bytes."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name = self.string(_LONGEST_NAME)
        (axes,) = self.numbers("I")
        if not 0 < axes <= _MOST_AXES:
            raise _Damaged(f"the tensor {quoted(name)} has {axes} axes")
        shape = self.numbers(f"{axes}Q")
        kind, start = self.numbers("IQ")
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise _Damaged(f"the tensor {quoted(name)} has the unknown type {kind}") from None
        if not all(shape) or shape[0] % block:
            raise _Damaged(f"the tensor {quoted(name)} has the shape {shape}, in blocks of {block}")
        if name in found.shapes:
            raise _Damaged(f"two tensors are called {quoted(name)}")
        found.shapes[name], found.types[name] = tuple(reversed(shape)), kind
        return start, math.prod(shape) // block * size

    def value(self, kind: int) -> float | int | str | None:
        """Reads a value; passes over a list, and returns None for it."""
        if kind in _NUMBERS:
            number: float | int = self.numbers(_NUMBERS[kind])[0]
            return number
        if kind == _TEXT:
            return self.string(_LONGEST_TEXT)
        if kind != _LIST:
            raise _Damaged(f"a value has the unknown type {kind}")
        kind, length = self.numbers("IQ")
        self.elements += length
        if self.elements > _MOST_ELEMENTS:
            raise _Damaged(f"its lists have over {_MOST_ELEMENTS:,} elements")
        if kind in _NUMBERS:
            self.bytes(length * struct.calcsize(_NUMBERS[kind]))
        elif kind == _TEXT:
            for _ in range(length):
                self.string(_LONGEST_TOKEN)
        else:
            raise _Damaged(f"a list has elements of the unknown type {kind}")
        return None

    def string(self, longest: int) -> str:
        (length,) = self.numbers("Q")
        self.text += length
        if length > longest or self.text > _MOST_TEXT:
            raise _Damaged(f"a text of {length:,} bytes, where at most {longest:,} are expected")
        try:
            return self.bytes(length).decode()
        except UnicodeDecodeError:
            raise _Damaged("a text in it is not UTF-8") from None

    def numbers(self, kinds: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{kinds}", self.bytes(struct.calcsize(f"<{kinds}")))

    def bytes(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise _Damaged("it ends before its head does: it was cut off")
        return self.file.read(count)
