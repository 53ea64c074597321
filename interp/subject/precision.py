"""The float type of a model's weights, and what `auto` is for a folder: the one that they are stored in."""

from pathlib import Path
from typing import Any, Literal, get_args

from interp.errors import UserError, quoted
from interp.subject.folder import find_folder
from interp.subject.model_files import COPY, read_object, weight_files
from interp.subject.shape import PUBLISHED
from interp.tensors import opened

Dtype = Literal["float32", "float64", "bfloat16", "float16"]
DtypeOrAuto = Literal["auto", "float32", "float64", "bfloat16", "float16"]
_STORED = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""safetensors' names."""


def resolved_dtype(name: str | Path, dtype: str) -> Dtype:
    """What `auto` is for a model; other types are returned as they are, and nothing is read.

    It is what `config.json` says (`dtype`, in older files `torch_dtype`), where it says nothing the type of
    the first weights that are floats: as `transformers` does. Reads no weights, and asks no hub for a model
    of `interp.subject.shape.PUBLISHED`.

    Raises:
        UserError: as `find_folder`; or the type is not one that a subject can have.
    """
    if dtype != "auto":
        return _known(dtype, "dtype")
    if str(name) in PUBLISHED:
        return _known(PUBLISHED[str(name)][1].get("dtype", "float32"), f"model {name}")
    folder = find_folder(name)
    place = str(folder / "config.json")
    values = read_object(folder / "config.json")
    inner = values.get("text_config")
    for part in (values, inner if isinstance(inner, dict) else {}):
        for key in ("dtype", "torch_dtype"):
            if (found := part.get(key)) is not None:
                return _known(found, place)
    for file in weight_files(folder):
        with opened(file, COPY) as tensors:
            for tensor in tensors.keys():  # noqa: SIM118 (it is no mapping)
                if (found := _STORED.get(tensors.get_slice(tensor).get_dtype())) is not None:
                    return _known(found, place)
    return "float32"


def _known(dtype: Any, place: str) -> Dtype:
    known: dict[Any, Dtype] = {f"{before}{one}": one for one in get_args(Dtype) for before in ("", "torch.")}
    if isinstance(dtype, str) and dtype in known:
        return known[dtype]
    raise UserError(
        f"its weights are of type {quoted(dtype)}", place, f"choose a dtype: {', '.join(get_args(Dtype))}"
    )
