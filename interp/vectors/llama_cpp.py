"""Vectors as control vectors of llama.cpp: GGUF files for `llama-cli --control-vector`."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from interp.errors import UserError
from interp.track.files import atomic
from interp.vectors.vector import Vector


def save_control_vector(path: Path, vectors: Sequence[Vector]) -> None:
    """Writes vectors as `direction.LAYER`, which llama.cpp adds to that layer's output at every position.

    It has none for the first layer. Vectors of one layer are added up. As `llama-cvector-generator` does:
    https://github.com/ggml-org/llama.cpp/tree/master/tools/cvector-generator.

    Raises:
        UserError: a vector is not one that is added to the residual stream at every position, or is of the
            first layer; they are of several models; or the package `gguf` is not installed.
    """
    if find_spec("gguf") is None:
        raise UserError("the package gguf is not installed", str(path), "pip install 'interp[gguf]'")
    from gguf import GGUFWriter

    if len(models := sorted({vector.subject for vector in vectors})) > 1:
        raise UserError(f"vectors of {' and '.join(models)}", str(path), "write a file for each model")
    directions: dict[int, Tensor] = {}
    for vector in vectors:
        layer = _layer(vector)
        directions[layer] = directions.get(layer, 0) + vector.values
    with atomic(path) as file:
        writer = GGUFWriter(file, "controlvector")
        writer.add_string("controlvector.model_hint", vectors[0].subject)
        writer.add_uint32("controlvector.layer_count", len(directions))
        for layer, values in sorted(directions.items()):
            writer.add_tensor(f"direction.{layer}", values.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _layer(vector: Vector) -> int:
    """The layer after which llama.cpp adds the vector."""
    layer = vector.site.layer - (vector.site.kind == "resid_pre")
    if vector.site.kind not in ("resid_pre", "resid_post") or layer < 1:
        raise UserError(
            f"llama.cpp cannot add a vector at {vector.site}",
            f"vector {vector.name}",
            "give one of resid_post from layer 1 on, or of resid_pre from layer 2 on",
        )
    if vector.use != "add" or vector.positions != "all":
        raise UserError(
            f"it is used as {vector.use!r} at {vector.positions!r}, and llama.cpp adds at every position",
            f"vector {vector.name}",
            "make it one that does: dataclasses.replace(vector, use='add', positions='all')",
        )
    return layer
