"""Exemplars on disk: a safetensors file for each space and split, and a manifest.

Sizes per feature and polarity on the explain split: a top window takes 12 bytes and two for each token of
its width; see `disk_bytes`. Token samples are files of their own, and optional.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from interp.document import SPLITS, Split
from interp.errors import UserError, quoted
from interp.json_text import read_json
from interp.mining.config import MiningConfig
from interp.mining.exemplars import N_BANDS, N_SILENT, ROWS_PER_BAND, Exemplars, TokenSample
from interp.mining.mined import MinedSpace
from interp.mining.quantiles import LEVELS
from interp.tensors import read_tensors
from interp.track.files import write_json, write_safetensors

_FORMAT = 1
_AGAIN = "delete the folder and mine again"


def save_mined(mined: Mapping[str, MinedSpace], folder: Path, token_samples: bool = True) -> None:
    """Writes what mining found into `folder`, the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {"format": _FORMAT, "levels": LEVELS, "spaces": {}}
    for space, found in mined.items():
        manifest["spaces"][space] = {
            split: {"signed": part.signed, "n_tokens": part.n_tokens}
            for split, part in found.exemplars.items()
        }
        for split, part in found.exemplars.items():
            write_safetensors(folder / f"{space}.{split}.safetensors", _tensors(part))
            if token_samples:
                write_safetensors(
                    folder / f"{space}.{split}.tokens.safetensors", _tensors(found.samples[split])
                )
    manifest["token_samples"] = token_samples
    write_json(folder / "manifest.json", manifest)


def load_mined(folder: Path) -> dict[str, MinedSpace]:
    """Reads what `save_mined` wrote.

    Raises:
        UserError: the folder is not complete, damaged, of another format, or from when large activations were
            kept as infinite.
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
            exemplars: dict[Split, Exemplars] = {}
            samples: dict[Split, TokenSample] = {}
            for split in SPLITS:
                tensors: dict[str, Any] = read_tensors(folder / f"{space}.{split}.safetensors", _AGAIN)[0]
                exemplars[split] = Exemplars(**tensors, **parts[split])
                if manifest["token_samples"]:
                    tokens, _ = read_tensors(folder / f"{space}.{split}.tokens.safetensors", _AGAIN)
                    samples[split] = TokenSample(**tokens)
                    tensors["tokens"] = tokens["value"]
                if any(values.isnan().any() for values in tensors.values()):
                    raise UserError(f"activations of {space} are no numbers (NaN)", str(folder), _AGAIN)
                if any((values == torch.inf).any() for values in tensors.values()):
                    raise UserError(
                        f"activations of {space} were larger than half precision holds when they were kept",
                        str(folder),
                        "mine the corpus again",
                    )
            found[space] = MinedSpace(space, exemplars, samples)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"the exemplars cannot be read ({error})", str(folder), _AGAIN) from error
    return found


def _tensors(part: Exemplars | TokenSample) -> dict[str, torch.Tensor]:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return {name: value.contiguous() for name, value in values.items() if isinstance(value, torch.Tensor)}


def disk_bytes(n_features: int, signed: bool, config: MiningConfig) -> int:
    """Returns the bytes of one space's exemplars on disk, without headers and token samples."""
    lines = 2 * n_features if signed else n_features
    total = 0
    for split in SPLITS:
        k = config.top_windows.of(split)
        window = 4 + 4 + 4 + (2 * config.context_size if split == "explain" else 0)
        bands = N_BANDS * ROWS_PER_BAND * (2 + 2)
        total += lines * (k * window + bands + 2 * N_SILENT + 4)
        total += n_features * (4 * len(LEVELS) + 4) + 8 * config.sampled_rows + 4 * len(LEVELS)
    return total
