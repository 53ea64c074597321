"""Checks which files of a model folder may be opened: its own plain files, of bounded size, no pickles."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interp.errors import UserError, quoted
from interp.json_text import from_json
from interp.outside import LARGEST_FILE, MEBIBYTE, read_file
from interp.tensors import shapes

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_OPENED = {".json", ".safetensors", ".txt", ".model", ".jinja", ".tiktoken", ".bpe", ".spm", ".vocab"}
"""Suffixes of files that `transformers` may open in a folder when it reads safetensors only."""
_TEMPLATES = "additional_chat_templates"
_OBJECTS = (
    "config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", INDEX,
)  # fmt: skip
"""Files that must hold a JSON object."""
_NAMES = {
    "config.json": ("transformers_weights", "attn_implementation", "_attn_implementation"),
    "tokenizer_config.json": ("init_inputs", "fast_tokenizer_files"),
}
"""Fields that name files or code, which must be in the folder."""
_LARGEST_JSON = 64 * MEBIBYTE
_LARGEST_TEMPLATE = MEBIBYTE
_NO_LIMIT = re.compile(rb'("model_max_length"\s*:\s*)10{16}19884624838656(?=\s*[,}])')
"""`transformers`' value for a tokenizer without a limit: `int(1e30)`, which does not fit 64 bits."""
COPY = "copy the model folder again"


def check_folder(folder: Path) -> None:
    """Checks every file of a model folder that loading opens, before anything is loaded.

    A file may be a link to another of the folder. A snapshot in the hub's cache is a folder of links into the
    `blobs` of its repository, which are its files.

    Raises:
        UserError: a file is a link to the outside, not a plain file, too large or damaged; weights are not
            safetensors; or the folder is an adapter to another model.
    """
    if (folder / "adapter_config.json").exists():
        raise UserError(
            "the folder is an adapter to another model",
            str(folder),
            "merge it into its model (merge_and_unload in peft), and give the folder of the result",
        )
    for file in _opened(folder):
        _check_file(file, folder)
    read = {name: read_object(folder / name) for name in _OBJECTS if (folder / name).exists()}
    if INDEX in read and not (folder / WEIGHTS).exists():
        _check_index(read[INDEX], folder)
    for name, keys in _NAMES.items():
        for key in keys:
            _check_names(read.get(name, {}), folder / name, key)
    template = read.get("tokenizer_config.json", {}).get("chat_template")
    if isinstance(template, str) and len(template) > _LARGEST_TEMPLATE:
        place = str(folder / "tokenizer_config.json")
        raise UserError("chat_template is larger than 1 MiB", place, COPY)
    longest = read.get("tokenizer_config.json", {}).get("model_max_length", 0)
    if not isinstance(longest, int | float) or longest < 0:
        place = str(folder / "tokenizer_config.json")
        raise UserError(f"model_max_length is {quoted(longest)}, no number of tokens", place, COPY)


def read_object(file: Path) -> dict[str, Any]:
    """Reads the JSON object in a file of a model folder.

    Raises:
        UserError: the file holds no object, or is damaged, nested too deep or too large.
    """
    content = _NO_LIMIT.sub(rb"\g<1>0", read_file(file, COPY, _LARGEST_JSON))
    found = from_json(content, str(file), COPY)
    if not isinstance(found, dict):
        raise UserError("the file holds no JSON object", str(file), COPY)
    return found


def is_inside(file: Path, folder: Path) -> bool:
    """Whether a file (or the target of a link) is in the folder, or a blob of the folder's hub cache."""
    root, target = folder.resolve(), file.resolve()
    snapshots = (one for one in root.parents if one.name == "snapshots" and "--" in one.parent.name)
    inside = (root, *(one.parent / "blobs" for one in snapshots))
    return any(target.is_relative_to(one) for one in inside)


def weight_files(folder: Path) -> list[Path]:
    """Lists the folder's weight files: one, or those in the index."""
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        return [folder / WEIGHTS]
    return [folder / name for name in sorted(set(read_object(folder / INDEX)["weight_map"].values()))]


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the folder's weights, by name; reads the headers of its files alone.

    Raises:
        UserError: a file is damaged, a tensor is in two files, or not in the one that the index names.
    """
    found: dict[str, tuple[int, ...]] = {}
    where: dict[str, Path] = {}
    files = weight_files(folder)
    for file in files:
        for name, shape in shapes(file, COPY).items():
            if name in where:
                raise UserError(f"{name} is in {where[name].name} and in {file.name}", str(folder), COPY)
            found[name], where[name] = shape, file
    if files != [folder / WEIGHTS]:
        for name, file in read_object(folder / INDEX)["weight_map"].items():
            if name not in where or where[name] != folder / file:
                raise UserError(
                    f"{file} lacks {name}, which the index says is there", str(folder / INDEX), COPY
                )
    return found


def check_weights(folder: Path) -> None:
    """Raises UserError if a folder has no weights, or only pickled ones."""
    if any(folder.glob("*.safetensors")) or (folder / INDEX).exists():
        return
    if any(any(folder.glob(pickled)) for pickled in ("*.bin", "*.pt", "*.pth")):
        raise UserError(
            "the folder holds pickled weights only, which can run any code when they are read",
            str(folder),
            "convert them to model.safetensors where you trust them: model.save_pretrained(folder)",
        )
    raise UserError("the folder has no model.safetensors", str(folder), COPY)


def _opened(folder: Path) -> Iterator[Path]:
    for inner in (folder, folder / _TEMPLATES):
        if inner.is_dir():
            yield from (file for file in sorted(inner.iterdir()) if file.suffix in _OPENED)
    if (folder / _TEMPLATES).exists():
        yield folder / _TEMPLATES


def _check_file(file: Path, folder: Path) -> None:
    if not file.exists():
        what = "leads nowhere" if file.is_symlink() else "does not exist"
        raise UserError(f"{file.name} {what}", str(folder), COPY)
    if not is_inside(file, folder):
        raise UserError(
            f"{file.name} is a link out of the model folder, to {file.resolve()}",
            str(folder),
            "copy the file into the folder, if it is the model's",
        )
    found = file.stat()
    if file.name == _TEMPLATES and stat.S_ISDIR(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{file.name} is no plain file", str(folder), COPY)
    largest = _LARGEST_TEMPLATE if file.suffix == ".jinja" else LARGEST_FILE
    largest = _LARGEST_JSON if file.name in _OBJECTS else largest
    if file.suffix != ".safetensors" and found.st_size > largest:
        raise UserError(f"{file.name} is larger than {largest // MEBIBYTE} MiB", str(folder), COPY)


def _check_index(index: dict[str, Any], folder: Path) -> None:
    named = index.get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise UserError("weight_map does not say which file each tensor is in", str(folder / INDEX), COPY)
    for name in sorted(set(named.values())):
        if not name.endswith(".safetensors"):
            raise UserError(
                f"weights in {quoted(name)}: what is no safetensors file can run any code when it is read",
                str(folder / INDEX),
                "convert them to safetensors where you trust them: model.save_pretrained(folder)",
            )
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"weights outside the folder, in {quoted(name)}", str(folder / INDEX), COPY)
        _check_file(folder / name, folder)


def _check_names(values: dict[str, Any], place: Path, key: str) -> None:
    """Raises UserError if a field's value is not the plain name of a file, or several."""
    given = values.get(key) or []
    names = given if isinstance(given, list) else given.values() if isinstance(given, dict) else [given]
    if not all(isinstance(name, str) and re.fullmatch(r"[\w.-]+", name) for name in names):
        raise UserError(f"{key} names files elsewhere: {quoted(given)}", str(place), f"take {key} out")
