"""Checks of an SAE's files before SAELens reads them: their place, their kind, their sizes."""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interp.errors import UserError, quoted
from interp.json_text import read_json
from interp.outside import open_file
from interp.subject.model_files import is_inside
from interp.tensors import shapes

_WIDTHS = ("d_in", "d_model", "activation_dim")
_LATENTS = ("d_sae", "dict_size", "n_features")
_FACTOR = "expansion_factor"


def check_sae_folder(folder: Path, files: Sequence[str], config: Mapping[str, Any]) -> None:
    """Checks a folder's files before they are loaded; the last of them holds the weights.

    Raises:
        UserError: a file is a link out of the folder or no plain file, the weights are damaged, or hold
            less than the configuration says.
    """
    for name in files:
        if not is_inside(folder / name, folder):
            raise UserError(
                f"{name} is a link out of the folder",
                str(folder),
                "copy the file into it, if it is the SAE's",
            )
        open_file(folder / name, "copy the file again").close()
    weights = folder / files[-1]
    held = sum(map(math.prod, shapes(weights, "copy the file again").values()))
    for key in ("d_in", "d_sae"):
        if type(config.get(key)) is not int or config[key] < 1:
            raise UserError(
                f"{key} is {quoted(config.get(key))}, not a whole number from 1", str(folder), _FIX
            )
    _check_widths(config, held, str(folder))


def check_cached(files: Mapping[str, Path], place: str, fix: str) -> None:
    """Checks the cached files of a published SAE before they are loaded.

    Raises:
        UserError: a file is damaged, an archive far larger than it looks, or the configuration asks for more
            than the weights hold.
    """
    for path in files.values():
        open_file(path, fix).close()
    sizes = {name: path.stat().st_size for name, path in files.items() if not name.endswith(".json")}
    for name, path in files.items():
        if name.endswith(".json"):
            _check_widths(read_json(path, fix), max(sizes.values(), default=0), place)
        elif name.endswith(".npz"):
            _check_archive(path, fix)


_FIX = "keep configuration and weights of one SAE together"


def _check_widths(config: Mapping[str, Any], held: int, place: str) -> None:
    """Raises UserError if the configuration asks for a matrix of more numbers than `held`."""
    found = dict(_counts(config))
    width = max((found[key] for key in _WIDTHS if key in found), default=1)
    latents = max((found[key] for key in _LATENTS if key in found), default=width * found.get(_FACTOR, 1))
    if width * latents > max(held, 1):
        raise UserError(
            f"the configuration asks for {width:,} x {latents:,} numbers, and the weights hold {held:,}",
            place,
            _FIX,
        )


def _counts(values: Any) -> Iterator[tuple[str, int]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _counts(value)
        elif key in (*_WIDTHS, *_LATENTS, _FACTOR) and type(value) is int:
            yield key, value


def _check_archive(path: Path, fix: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(one.file_size for one in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise UserError(f"the files cannot be read ({error})", str(path), fix) from error
    if unpacked > 10 * path.stat().st_size:
        raise UserError(f"the archive unpacks to {unpacked:,} bytes, which no weights do", str(path), fix)
