"""Loads a subject as a config selects it: name, device and precision, weights, and a check of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from interp.device import usable_device
from interp.errors import UserError
from interp.fields import Device, Flag, PathText, Section
from interp.subject.architectures import chosen_backend
from interp.subject.backend import Backend
from interp.subject.folder import SubjectInfo, read_config, subject_info
from interp.subject.gap import Gap, Reference, measure
from interp.subject.malloc import keep_freed_memory
from interp.subject.memory import LOWER_MODEL, fitting
from interp.subject.model import Loaded
from interp.subject.non_finite import not_finite
from interp.subject.placement import DeviceMap, device_of
from interp.subject.precision import Dtype, DtypeOrAuto, resolved_dtype
from interp.subject.pretrained import read_weights
from interp.subject.probe import probe
from interp.subject.quantized import Quantize, stored_bits
from interp.subject.subject import Subject
from interp.subject.text import Text

BackendName = Literal["auto", "hooked", "bridge"]
Processing = Literal["none", "fold"]
_ON_DEVICES = "load it without device_map, or with all of its parts on devices"


def load(
    name: str | Path,
    backend: str = "auto",
    device: str | None = None,
    dtype: str = "float32",
    processing: str = "none",
    skip_first: bool | None = None,
    check: bool = True,
    device_map: str | Mapping[str, str | int] | None = None,
    quantize: str | None = None,
) -> Subject:
    """Loads a bundled model, `gemma-3-270m`, a Hugging Face folder, a GGUF file or a hub name as a subject.

    `backend` is one of `BackendName`, `dtype` of `DtypeOrAuto`, `processing` of `Processing`: checked here.
    The backend `auto` is `hooked` where that builds the model, otherwise `bridge`; the dtype `auto` is the
    one that the weights are stored in (`resolved_dtype`). `device` defaults to CUDA where there is one,
    otherwise the CPU. `processing` is the weight processing of TransformerLens (`fold`: layer norms folded,
    writing weights centred), which changes activations and is off by default. `skip_first` leaves the first
    position of every row out of means, exemplars and what SAEs are trained on (`RowLayout`); None does so
    where the model has no beginning-of-sequence token. Weights are read from safetensors only and no code of
    the folder is run. On a CPU, the process keeps freed memory from here on (`keep_freed_memory`).

    `device_map` (`auto`, or parts to devices, `cpu` and `disk`: `DeviceMap`) spreads a model that fits no
    single device, and `device` is then not used; `quantize` (`8bit`, `4bit`) packs its weights by
    bitsandbytes. Both need the backend `bridge`. Activations are read and changed, and gradients flow, as
    without them; weights are read as copies and cannot be changed where they are packed or off the devices.

    The subject's logits on ten tokens are compared with those of `transformers` itself, and its sites with
    the sums of the residual stream; `subject.gap` keeps the distance. With `check=False` a model whose logits
    differ is used nevertheless, and its sites are trusted; weights that are not finite are still refused.

    Raises:
        UserError: the model, tokenizer or an option is not usable, or the library does not compute
            what `transformers` does; says which, and how to fix it.
    """
    _choice("backend", backend, get_args(BackendName))
    _choice("dtype", dtype, get_args(DtypeOrAuto))
    _choice("processing", processing, get_args(Processing))
    if quantize is not None:
        _choice("quantize", quantize, get_args(Quantize))
    where = _device(device)
    info = subject_info(name)
    dtype = resolved_dtype(name, dtype)
    precision: torch.dtype = getattr(torch, dtype)
    config = read_config(info.folder)
    packed = _packed(config, quantize, str(info.folder))
    backend = _backend(config, backend, processing, device_map is not None, packed)
    text = Text(info.folder, info.d_vocab)
    placing = {"": str(where)} if device_map is None and packed else device_map
    weights = read_weights(info.folder, precision, device_map=placing, quantize=quantize)
    if placing is not None:
        where = device_of(weights.get_input_embeddings())
    if where.type == "cpu":
        keep_freed_memory()
    reference = Reference.of(weights, text.bos_id, text.special_ids, info.n_ctx, device_of(weights))
    fold = processing == "fold"
    model: Backend
    with fitting("it is loaded", where, f"model {info.name}", LOWER_MODEL):
        if backend == "hooked":
            from interp.subject.hooked import HookedBackend

            model = HookedBackend(weights, info.architecture, str(where), precision, fold)
        else:
            from interp.subject.bridge import BridgeBackend

            model = BridgeBackend(weights, info, str(where), precision, fold)
    spread = () if device_map is None else (_ON_DEVICES,)
    gap = measure(model, reference, info.n_layers, where, precision, *spread)
    if check and not bool(reference.logits.isfinite().all()):
        Subject(Loaded(model, info, where, precision), text).logits(reference.tokens)  # says where it begins
        raise not_finite("the logits of transformers' own model are", precision, info.name)
    if check and not gap.holds:
        raise _other_logits(gap, info, backend, dtype, fold, *spread)
    found = probe(model, info, reference.tokens.to(where), gap.tolerance) if check else None
    options = {
        "name": str(Path(name).absolute() if Path(name).exists() else name), "backend": backend,
        "device": str(where), "dtype": dtype, "processing": processing, "skip_first": skip_first,
        "check": check, "device_map": device_map, "quantize": quantize,
    }  # fmt: skip
    loaded = Loaded(model, info, where, precision, processing, gap, found, options, packed)
    return Subject(loaded, text, skip_first)


def _packed(config: Any, quantize: str | None, folder: str) -> Quantize | None:
    """In what bits the weights will be: as asked for, or as they are stored."""
    stored = stored_bits(config)
    if stored is not None and quantize is not None:
        raise UserError(f"its weights are stored in {stored} already", folder, "leave quantize out")
    return stored or next((one for one in get_args(Quantize) if one == quantize), None)


def _backend(config: Any, backend: str, processing: str, mapped: bool, packed: str | None) -> str:
    """The backend: `auto` is the bridge where weights stay as `transformers` has placed or packed them."""
    if not mapped and packed is None:
        return chosen_backend(config, backend)
    what = "device_map" if packed is None else f"quantize {packed}"
    if backend == "hooked":
        raise UserError(
            "HookedTransformer converts weights, and takes none that are packed or on several devices",
            f"backend hooked, {what}",
            "use backend: bridge, or auto",
        )
    if processing == "fold":
        raise UserError(
            "weights that are packed or on several devices cannot be folded",
            f"processing fold, {what}",
            "use processing: none",
        )
    return "bridge"


def _other_logits(
    gap: Gap, info: SubjectInfo, backend: str, dtype: str, fold: bool, fix: str | None = None
) -> UserError:
    builds = chosen_backend(read_config(info.folder), "auto") == "hooked"
    others = {"hooked": "try backend: bridge, or ", "bridge": "try backend: hooked, or " if builds else ""}
    instead = "use processing: none, or " if fold else others[backend] if fix is None else f"{fix}, or "
    return UserError(
        f"backend {backend} does not compute {info.architecture} as transformers does: on a short text its "
        f"logits are off by {gap.plain:.2g} of their spread, with padding by {gap.padded:.2g} "
        f"({gap.tolerance:g} is allowed in {dtype})",
        f"model {info.name}",
        f"{instead}go on with the wrong logits: check: false (check=False in Python)",
    )


def _choice(what: str, value: str, possible: tuple[str, ...]) -> None:
    if value not in possible:
        raise UserError(f"{value!r} is no {what}", what, f"use one of {', '.join(possible)}")


def _device(device: str | None) -> torch.device:
    return usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


class SubjectConfig(Section):
    """The model under study."""

    name: PathText = "world"
    """A bundled name, `gemma-3-270m`, a local Hugging Face folder, a GGUF file, or a hub name."""
    backend: BackendName = "auto"
    """`hooked` (HookedTransformer), `bridge` (TransformerBridge), or `auto`: hooked where it can."""
    device: Device = "cpu"
    """Where it runs: cpu, cuda, cuda:1, mps."""
    dtype: DtypeOrAuto = "float32"
    """Float type of its weights and activations; `auto` is the one that its weights are stored in."""
    device_map: DeviceMap | None = None
    """Spreads a model that fits no single device, with the backend bridge: `auto`, or its parts to devices as
    in accelerate, such as `{"": "cuda:0", model.layers.3: cpu, lm_head: disk}`. `device` is then not used."""
    quantize: Quantize | None = None
    """`8bit` or `4bit`: weights packed by bitsandbytes (the extra `quantized`), with the backend bridge. What
    that changes is measured by `interp bench precision`."""
    processing: Processing = "none"
    """TransformerLens' weight processing: `fold` folds layer norms and centres writing weights."""
    skip_first: Flag | None = None
    """Whether each row's first position is left out of means, quantiles, exemplars, principal directions and
    what SAEs are trained on. By default where the model has no beginning-of-sequence token (Qwen): there the
    first token is an attention sink of huge norm. Where it has one, that is left out in any case."""
    check: Flag = True
    """Refuse a model whose logits the library does not compute as `transformers` does; false goes on."""

    def resolved_dtype(self) -> Dtype:
        """Returns the dtype, `auto` as what it is for this model; raises as the function of that name."""
        return resolved_dtype(self.name, self.dtype)
