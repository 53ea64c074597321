"""Loading a trained SAE from a folder in SAELens' format, with every check a user needs."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from sae_lens.constants import SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME
from safetensors import SafetensorError

from interp.errors import UserError
from interp.subject.site import SITE_KINDS, Site
from interp.subject.subject import Subject
from saes.latents import SaeLatents


def load(
    subject: Subject,
    folder: str | Path,
    *,
    site: Site | None = None,
    name: str | None = None,
    check_model: bool = True,
) -> SaeLatents:
    """Loads an SAE that SAELens (or `saes.train`) saved, as a feature space of the subject.

    The site is the one in the SAE's metadata. `site` says it for an SAE whose metadata does not.
    `check_model=False` accepts one trained on a model of another name (a renamed copy, a fine-tuned one).
    Only `cfg.json` and `sae_weights.safetensors` are read.

    Raises:
        UserError: a file is missing, damaged or truncated; weights are not finite; the SAE was trained at
            another site, on another model or under another weight processing; its width does not fit.
    """
    folder = Path(folder)
    config = _read_config(folder)
    metadata = config["metadata"] if isinstance(config.get("metadata"), dict) else config
    trained_at = _trained_site(metadata, folder)
    if site is not None and trained_at is not None and site != trained_at:
        raise UserError(
            f"the SAE was trained at {trained_at}, not at {site}", str(folder), f"ask for {trained_at}"
        )
    chosen = site or trained_at
    if chosen is None:
        raise UserError(
            "the SAE does not say at which site it was trained",
            str(folder),
            "give the site, such as resid_post.3",
        )
    if check_model:
        _check_model(subject, metadata, folder)
    return SaeLatents(_read_sae(folder, str(subject.device)), chosen, name, subject=subject)


def site_of_hook(hook_name: str) -> Site | None:
    """The site with this TransformerLens hook name, None if it is none of ours."""
    number = re.search(r"\d+", hook_name)
    layer = int(number.group()) if number else 0
    return next((Site(kind, layer) for kind in SITE_KINDS if Site(kind, layer).hook_name == hook_name), None)


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise UserError(f"no folder {folder}", "SAE", "give the folder that SAELens or `saes.train` wrote")
    for file in (SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME):
        if not (folder / file).is_file():
            raise UserError(
                f"{file} is missing",
                str(folder),
                f"an SAE folder holds {SAE_CFG_FILENAME} and {SAE_WEIGHTS_FILENAME}",
            )
    try:
        config = json.loads((folder / SAE_CFG_FILENAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"not JSON ({error})", str(folder / SAE_CFG_FILENAME), "copy the file again"
        ) from error
    if not isinstance(config, dict) or not {"d_in", "d_sae"} <= config.keys():
        raise UserError(
            "not an SAE's configuration: d_in and d_sae are missing",
            str(folder / SAE_CFG_FILENAME),
            "save the SAE with SAELens 6 or `saes.train`",
        )
    return config


def _trained_site(metadata: dict[str, Any], folder: Path) -> Site | None:
    hook_name = metadata.get("hook_name")
    if hook_name is None:
        return None
    site = site_of_hook(str(hook_name))
    if site is None:
        raise UserError(
            f"the SAE was trained at the hook {hook_name!r}, which is none of the sites known here",
            str(folder),
            f"use an SAE of one of {', '.join(SITE_KINDS)}",
        )
    return site


def _check_model(subject: Subject, metadata: dict[str, Any], folder: Path) -> None:
    trained_on = metadata.get("model_name")
    if trained_on is not None and trained_on != subject.name:
        raise UserError(
            f"the SAE was trained on {trained_on}, not on {subject.name}",
            str(folder),
            f"load {trained_on}, or pass check_model=False if it is the same model under another name",
        )
    processing, present = metadata.get("processing"), subject.processing
    if processing is not None and processing != present:
        raise UserError(
            f"the SAE was trained on weights with processing {processing!r}; the subject has {present!r}",
            str(folder),
            f"load the subject with processing={processing!r}",
        )


def _read_sae(folder: Path, device: str) -> SAE[Any]:
    weights = folder / SAE_WEIGHTS_FILENAME
    try:
        sae: SAE[Any] = SAE.load_from_disk(folder, device=device)
    except SafetensorError as error:
        raise UserError(
            f"the weights are damaged or cut off ({error})", str(weights), "copy the file again"
        ) from error
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"weights and configuration do not make an SAE ({str(error).splitlines()[0]})",
            str(folder),
            f"keep {SAE_CFG_FILENAME} and {SAE_WEIGHTS_FILENAME} of one SAE together",
        ) from error
    for parameter, value in sae.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise UserError(
                f"{parameter} holds numbers that are not finite", str(weights), "copy or train it again"
            )
    return sae
