"""Loading a trained SAE, from a folder or by release name, with every check a user needs."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal
from zipfile import BadZipFile

import torch
from sae_lens import SAE
from sae_lens.constants import SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME
from sae_lens.saes.transcoder import Transcoder
from safetensors import SafetensorError

from interp.errors import UserError
from interp.json_text import read_json
from interp.subject.quiet import first_line
from interp.subject.site import SITE_KINDS, Site
from interp.subject.subject import Subject
from interp.tensors import check_finite
from saes import memory
from saes.download import cached_files, fetch, from_cache
from saes.latents import SaeLatents
from saes.outside import check_cached, check_sae_folder
from saes.release import Release, find_release, parse_release
from saes.trained_on import TrainedOn, check_model, check_training, site_of_hook, site_trained_at, trained_on
from saes.transcoder_latents import TranscoderLatents

SaeDtype = Literal["float32", "bfloat16", "float16", "float64"]
Latents = SaeLatents | TranscoderLatents


def load(
    subject: Subject,
    source: str | Path,
    *,
    site: Site | None = None,
    name: str | None = None,
    check_model: bool = True,
    dtype: SaeDtype | None = None,
) -> Latents:
    """Loads an SAE (or a transcoder) as a feature space: a folder, or RELEASE/SAE_ID of SAELens' registry.

    A folder is one that SAELens or `saes.train` saved; only `cfg.json` and `sae_weights.safetensors` are
    read. A release is loaded by `load_release`. `site` is for an SAE whose metadata does not name its site.
    `check_model=False` accepts one trained on a model of another name (a renamed copy, a fine-tuned one).
    `dtype` is the float type of the SAE's weights (a folder: as saved, a release: float32 if left out); the
    subject may have another.

    Raises:
        UserError: there is no such folder or release; a file is missing, damaged or truncated; weights are
            not finite; the SAE was trained at another site, on another model or under another weight
            processing; its width does not fit.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        found = parse_release(str(source))
        return _load_release(subject, found, site=site, name=name, check_model=check_model, dtype=dtype)
    config = _read_config(folder)
    metadata = config["metadata"] if isinstance(config.get("metadata"), dict) else config
    known, place = trained_on(metadata), str(folder)
    chosen = _check_before(subject, known, place, site, check_model)
    sae = _read_folder(folder, str(subject.device), dtype)
    check_training(known, chosen, subject, place)
    return _latents(subject, sae, chosen, name, place)


def load_release(
    subject: Subject,
    release: str,
    sae_id: str,
    *,
    site: Site | None = None,
    name: str | None = None,
    check_model: bool = True,
    dtype: SaeDtype | None = None,
) -> Latents:
    """Loads a published SAE by its names in SAELens' registry, from the hub's cache or the hub.

    A `release` ORG/REPO that is not in the registry is a repository with SAEs in SAELens' format. Pickled
    weights (`dictionary_learning`, Goodfire, Qwen Scope and others) are read as tensors only (PyTorch's
    `weights_only`, whatever its default); anything else in them is refused. The other arguments are those of
    `load`.

    Raises:
        UserError: as `load`; or the release or the id does not exist (names the nearest), is of transcoders,
            or its files are neither cached nor downloadable (says which, and how to get them).
    """
    found = find_release(release, sae_id)
    return _load_release(subject, found, site=site, name=name, check_model=check_model, dtype=dtype)


def _load_release(
    subject: Subject,
    release: Release,
    *,
    site: Site | None,
    name: str | None,
    check_model: bool,
    dtype: SaeDtype | None,
) -> Latents:
    place = str(release)
    fetch(release)
    sae, config = _read_release(release, str(subject.device), dtype or "float32")
    metadata = {**config, **sae.cfg.metadata.to_dict()}
    known = trained_on(metadata, (release.model,) if release.model else (), release.format.processing)
    chosen = _check_before(subject, known, place, site, check_model)
    check_training(known, chosen, subject, place)
    return _latents(subject, sae, chosen, name, place)


def _check_before(subject: Subject, known: TrainedOn, place: str, site: Site | None, names: bool) -> Site:
    chosen = site_trained_at(known, place, site)
    if names:
        check_model(known, subject.info, place)
    return chosen


def _latents(subject: Subject, sae: SAE[Any], site: Site, name: str | None, place: str) -> Latents:
    """Makes the feature space and encodes one activation of zeros, so that misfits are found now."""
    found = _space(subject, sae, site, name, place)
    with _damage_explained(place, place, "copy the files again"), torch.no_grad():
        found.encode(torch.zeros(1, sae.cfg.d_in, dtype=subject.dtype, device=subject.device))
    return found


def _space(subject: Subject, sae: SAE[Any], site: Site, name: str | None, place: str) -> Latents:
    if not isinstance(sae, Transcoder):
        return SaeLatents(sae, site, name, subject=subject)
    hook = sae.cfg.metadata.hook_name_out
    target = site_of_hook(str(hook))
    if target is None:
        raise UserError(
            f"the transcoder predicts the hook {hook!r}, which is none of the sites known here",
            place,
            f"use one that predicts one of {', '.join(SITE_KINDS)}",
        )
    return TranscoderLatents(sae, site, target, name, subject=subject)


def _read_config(folder: Path) -> dict[str, Any]:
    for file in (SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME):
        if not (folder / file).is_file():
            raise UserError(
                f"{file} is missing",
                str(folder),
                f"an SAE folder holds {SAE_CFG_FILENAME} and {SAE_WEIGHTS_FILENAME}",
            )
    config = read_json(folder / SAE_CFG_FILENAME, "copy the file again")
    if not {"d_in", "d_sae"} <= config.keys():
        raise UserError(
            "not an SAE's configuration: d_in and d_sae are missing",
            str(folder / SAE_CFG_FILENAME),
            "save the SAE with SAELens 6 or `saes.train`",
        )
    check_sae_folder(folder, (SAE_CFG_FILENAME, SAE_WEIGHTS_FILENAME), config)
    return config


def _read_folder(folder: Path, device: str, dtype: SaeDtype | None) -> SAE[Any]:
    weights = folder / SAE_WEIGHTS_FILENAME
    with _damage_explained(str(weights), str(folder), "copy the file again"), _silent_options():
        sae: SAE[Any] = SAE.load_from_disk(folder, device=device, **({"dtype": dtype} if dtype else {}))
    return _checked(sae, str(weights))


def _read_release(release: Release, device: str, dtype: SaeDtype) -> tuple[SAE[Any], dict[str, Any]]:
    place = str(release)
    again = f"download them again: hf download --force-download {release.repo} {' '.join(release.files)}"
    check_cached(cached_files(release), place, again)
    with _damage_explained(place, place, again), from_cache(), _silent_options():
        sae, config, _ = SAE.from_pretrained_with_cfg_and_sparsity(
            release.release, release.sae_id, device=device, dtype=dtype
        )
    return _checked(sae, place), config


@contextmanager
def _damage_explained(weights: str, place: str, fix: str) -> Iterator[None]:
    try:
        with memory.explained("loading the SAE", place, memory.LOWER_LOADING):
            yield
    except UserError:
        raise
    except SafetensorError as error:
        raise UserError(f"the weights are damaged or cut off ({error})", weights, fix) from error
    except UnpicklingError as error:
        raise UserError(
            f"the weights are damaged, or a pickle of more than tensors ({first_line(error)})",
            weights,
            "use a release in safetensors; a pickle can run any code when it is read",
        ) from error
    except (OSError, EOFError, BadZipFile) as error:
        raise UserError(f"the files cannot be read ({first_line(error)})", weights, fix) from error
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"weights and configuration do not make an SAE ({first_line(error)})",
            place,
            f"keep configuration and weights of one SAE together, or {fix}",
        ) from error


@contextmanager
def _silent_options() -> Iterator[None]:
    """Silences SAELens' warning of model options: `check_training` compares them with the subject's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty model_from_pretrained_kwargs")
        warnings.filterwarnings("ignore", message="norm_scaling_factor not found")
        yield


def _checked(sae: SAE[Any], place: str) -> SAE[Any]:
    check_finite(sae.state_dict(), place, "copy, download or train it again")
    if sae.cfg.normalize_activations == "expected_average_only_in":
        raise UserError(
            "the SAE reads activations scaled by a factor of its training set, which is not saved with it",
            place,
            "fold the factor in (SAELens' fold_activation_norm_scaling_factor) and save it again",
        )
    return sae
