"""Loads a subject as a config selects it: name, device and precision, weights, and a check of them."""

from pathlib import Path
from typing import Literal, get_args

import torch

from interp.device import usable_device
from interp.errors import UserError
from interp.fields import Device, Flag, PathText, Section
from interp.subject.architectures import chosen_backend
from interp.subject.backend import Backend
from interp.subject.folder import SubjectInfo, read_config, subject_info
from interp.subject.gap import Gap, Reference, measure
from interp.subject.malloc import keep_freed_memory
from interp.subject.model import Loaded
from interp.subject.non_finite import not_finite
from interp.subject.pretrained import read_weights
from interp.subject.probe import probe
from interp.subject.subject import Subject
from interp.subject.text import Text

BackendName = Literal["auto", "hooked", "bridge"]
Dtype = Literal["float32", "float64", "bfloat16", "float16"]
Processing = Literal["none", "fold"]


def load(
    name: str | Path,
    backend: str = "auto",
    device: str | None = None,
    dtype: str = "float32",
    processing: str = "none",
    skip_first: bool | None = None,
    check: bool = True,
) -> Subject:
    """Loads a bundled model, `gemma-3-270m`, a Hugging Face folder, a GGUF file or a hub name as a subject.

    `backend` is one of `BackendName`, `dtype` of `Dtype`, `processing` of `Processing`: checked here. `auto`
    is `hooked` where that builds the model, otherwise `bridge`. `device` defaults to CUDA where there is one,
    otherwise the CPU. `processing` is the weight processing of TransformerLens (`fold`: layer norms folded,
    writing weights centred), which changes activations and is off by default. `skip_first` leaves the first
    position of every row out of means, exemplars and what SAEs are trained on (`RowLayout`); None does so
    where the model has no beginning-of-sequence token. Weights are read from safetensors only and no code of
    the folder is run. On a CPU, the process keeps freed memory from here on (`keep_freed_memory`).

    The subject's logits on ten tokens are compared with those of `transformers` itself, and its sites with
    the sums of the residual stream; `subject.gap` keeps the distance. With `check=False` a model whose logits
    differ is used nevertheless, and its sites are trusted; weights that are not finite are still refused.

    Raises:
        UserError: the model, tokenizer or an option is not usable, or the library does not compute
            what `transformers` does; says which, and how to fix it.
    """
    _choice("backend", backend, get_args(BackendName))
    _choice("dtype", dtype, get_args(Dtype))
    _choice("processing", processing, get_args(Processing))
    where = _device(device)
    if where.type == "cpu":
        keep_freed_memory()
    precision: torch.dtype = getattr(torch, dtype)
    info = subject_info(name)
    text = Text(info.folder, info.d_vocab)
    backend = chosen_backend(read_config(info.folder), backend)
    weights = read_weights(info.folder, precision)
    reference = Reference.of(weights, text.bos_id, text.special_ids, info.n_ctx)
    fold = processing == "fold"
    model: Backend
    if backend == "hooked":
        from interp.subject.hooked import HookedBackend

        model = HookedBackend(weights, info.architecture, str(where), precision, fold)
    else:
        from interp.subject.bridge import BridgeBackend

        model = BridgeBackend(weights, info, str(where), precision, fold)
    gap = measure(model, reference, info.n_layers, where, precision)
    if check and not bool(reference.logits.isfinite().all()):
        Subject(Loaded(model, info, where, precision), text).logits(reference.tokens)  # says where it begins
        raise not_finite("the logits of transformers' own model are", precision, info.name)
    if check and not gap.holds:
        raise _other_logits(gap, info, backend, dtype, fold)
    found = probe(model, info, reference.tokens.to(where), gap.tolerance) if check else None
    return Subject(Loaded(model, info, where, precision, processing, gap, found), text, skip_first)


def _other_logits(gap: Gap, info: SubjectInfo, backend: str, dtype: str, fold: bool) -> UserError:
    builds = chosen_backend(read_config(info.folder), "auto") == "hooked"
    others = {"hooked": "try backend: bridge, or ", "bridge": "try backend: hooked, or " if builds else ""}
    instead = "use processing: none, or " if fold else others[backend]
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
    dtype: Dtype = "float32"
    """Float type of its weights and activations."""
    processing: Processing = "none"
    """TransformerLens' weight processing: `fold` folds layer norms and centres writing weights."""
    skip_first: Flag | None = None
    """Whether each row's first position is left out of means, quantiles, exemplars, principal directions and
    what SAEs are trained on. By default where the model has no beginning-of-sequence token (Qwen): there the
    first token is an attention sink of huge norm. Where it has one, that is left out in any case."""
    check: Flag = True
    """Refuse a model whose logits the library does not compute as `transformers` does; false goes on."""
