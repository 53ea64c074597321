"""Exemplars on disk: a safetensors file for each space and split, and a manifest.

Sizes per feature and polarity on the explain split: a top window takes 12 bytes and two for each token of
its width; see `disk_bytes`. Token samples are files of their own, and optional. Files are mapped into memory:
what is not asked for is not read.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from interp.document import SPLITS, Split
from interp.errors import UserError, quoted
from interp.json_text import read_json
from interp.mining.config import MiningConfig
from interp.mining.exemplars import N_BANDS, N_SILENT, ROWS_PER_BAND, Exemplars, TokenSample
from interp.mining.mapped import MappedExemplars, MappedSample, OnDemand
from interp.mining.mined import MinedSpace
from interp.mining.quantiles import LEVELS
from interp.outside import open_file
from interp.track.files import write_json, write_safetensors

_FORMAT = 1
_AGAIN = "delete the folder and mine again"


def save_mined(
    mined: Mapping[str, MinedSpace] | Iterable[MinedSpace], folder: Path, token_samples: bool = True
) -> None:
    """Writes what mining found into `folder`, the manifest last.

    Spaces are taken and written one at a time, so that `mined` may make each when it is asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {"format": _FORMAT, "levels": LEVELS, "spaces": {}}
    for found in mined.values() if isinstance(mined, Mapping) else mined:
        manifest["spaces"][found.name] = {
            split: {
                "signed": part.signed,
                "n_tokens": part.n_tokens,
                "bytes": _written(folder, found, split, token_samples),
            }
            for split, part in found.exemplars.items()
        }
    manifest["token_samples"] = token_samples
    write_json(folder / "manifest.json", manifest)


def load_mined(folder: Path) -> dict[str, MinedSpace]:
    """Opens what `save_mined` wrote: a file, and what is in it, when it is asked for.

    Raises:
        UserError: the folder is not complete or of another format. What is damaged inside of a file is said
            where it is read (`interp.mining.mapped`).
    """
    try:
        manifest = read_json(folder / "manifest.json", _AGAIN)
        if manifest["format"] != _FORMAT:
            raise UserError(
                f"exemplars of format {manifest['format']}, not {_FORMAT}",
                str(folder),
                "mine the corpus again",
            )
        found: dict[str, MinedSpace] = {}
        for space, parts in manifest["spaces"].items():
            if Path(space).name != space:
                raise UserError(f"{quoted(space)} is no name of a space", str(folder), _AGAIN)
            exemplars: dict[Split, Callable[[], Exemplars]] = {}
            samples: dict[Split, Callable[[], TokenSample]] = {}
            for split in SPLITS:
                part, sizes = parts[split], parts[split].get("bytes", {})
                file = _checked(_file(folder, space, split, "exemplars"), sizes.get("exemplars"))
                exemplars[split] = partial(MappedExemplars, space, file, part["signed"], part["n_tokens"])
                if manifest["token_samples"]:
                    file = _checked(_file(folder, space, split, "tokens"), sizes.get("tokens"))
                    samples[split] = partial(MappedSample, space, file)
            found[space] = MinedSpace(space, OnDemand(exemplars), OnDemand(samples))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"the exemplars cannot be read ({error})", str(folder), _AGAIN) from error
    return found


def _checked(file: Path, n_bytes: int | None) -> Path:
    """Returns a file that is as long as when it was written, which older folders do not say."""
    with open_file(file, _AGAIN) as opened:
        size = os.fstat(opened.fileno()).st_size
    if n_bytes is not None and size != n_bytes:
        raise UserError(
            f"the file cannot be read (it has {size:,} bytes, not {n_bytes:,})", str(file), _AGAIN
        )
    return file


def _file(folder: Path, space: str, split: Split, kind: str) -> Path:
    return folder / f"{space}.{split}{'.tokens' if kind == 'tokens' else ''}.safetensors"


def _written(folder: Path, found: MinedSpace, split: Split, token_samples: bool) -> dict[str, int]:
    """Writes one split of a space; returns the bytes of each of its files."""
    kinds: dict[str, Exemplars | TokenSample] = {"exemplars": found.exemplars[split]}
    if token_samples:
        kinds["tokens"] = found.samples[split]
    sizes = {}
    for kind, part in kinds.items():
        values = {field.name: getattr(part, field.name) for field in fields(part)}
        tensors = {name: one.contiguous() for name, one in values.items() if isinstance(one, Tensor)}
        file = _file(folder, found.name, split, kind)
        write_safetensors(file, tensors)
        sizes[kind] = file.stat().st_size
    return sizes


def disk_bytes(n_features: int, signed: bool, config: MiningConfig, token_samples: bool = False) -> int:
    """Returns the bytes of one space's exemplars on disk, without headers, and of its token samples."""
    lines = 2 * n_features if signed else n_features
    total = 0
    for split in SPLITS:
        k = config.top_windows.of(split)
        window = 4 + 4 + 4 + (2 * config.context_size if split == "explain" else 0)
        bands = N_BANDS * ROWS_PER_BAND * (2 + 2)
        total += lines * (k * window + bands + 2 * N_SILENT + 4)
        total += n_features * (4 * len(LEVELS) + 4) + 8 * config.sampled_rows + 4 * len(LEVELS)
        if token_samples:
            total += config.sampled_tokens * (2 * n_features + 8 + 8)
    return total
