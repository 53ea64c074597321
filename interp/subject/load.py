"""Loading a subject: names, devices, precision, weights, and an answer for whatever is wrong with them."""

from pathlib import Path
from typing import Any, Literal, get_args

import torch

from interp.device import usable_device
from interp.errors import UserError
from interp.subject.backend import Backend
from interp.subject.folder import read_config, subject_info
from interp.subject.memory import keep_freed_memory
from interp.subject.quiet import first_line, quiet
from interp.subject.subject import Subject
from interp.subject.text import Text

BackendName = Literal["hooked", "bridge"]
Dtype = Literal["float32", "float64", "bfloat16", "float16"]
Processing = Literal["none", "fold"]


def load(
    name: str | Path,
    backend: str = "hooked",
    device: str | None = None,
    dtype: str = "float32",
    processing: str = "none",
) -> Subject:
    """Loads a bundled model, a local Hugging Face folder or a hub name as a subject.

    `backend` is one of `BackendName`, `dtype` of `Dtype`, `processing` of `Processing`: checked here.
    `device` defaults to CUDA where there is one, else the CPU. `processing` is the weight processing of
    TransformerLens (`fold`: layer norms folded, writing weights centred), which changes activations and is
    off by default. Weights are read from safetensors only and no code of the folder is run. On a CPU, the
    process keeps freed memory from here on (`keep_freed_memory`).

    Raises:
        UserError: the model, tokenizer or an option is not usable; says which and what would be.
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
    fold = processing == "fold"
    model: Backend
    if backend == "hooked":
        from interp.subject.architectures import architecture_of
        from interp.subject.hooked import HookedBackend

        architecture_of(info.architecture)
        weights = read_weights(info.folder, precision)
        model = HookedBackend(weights, info.architecture, str(where), precision, fold)
    else:
        from interp.subject.bridge import BridgeBackend

        weights = read_weights(info.folder, precision)
        model = BridgeBackend(
            weights, Text(info.folder, info.d_vocab).tokenizer, info, str(where), precision, fold
        )
    return Subject(model, text, info, where, precision, processing)


def read_weights(folder: Path, dtype: torch.dtype) -> Any:
    """The folder's model as `transformers` loads it, on the CPU, with eager attention.

    Raises:
        UserError: the weights are damaged, incomplete, or of other shapes than `config.json` says.
    """
    from transformers import AutoModelForCausalLM

    config = read_config(folder)
    try:
        with quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                str(folder),
                config=config,
                dtype=dtype,
                attn_implementation="eager",
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(
            f"the weights do not fit into memory ({first_line(error)})",
            str(folder),
            "use dtype bfloat16, a smaller model, or a machine with more memory",
        ) from error
    except Exception as error:  # safetensors, torch and transformers each have their own for one cause
        raise UserError(
            f"the weights cannot be read ({first_line(error)})",
            str(folder),
            "the file is damaged or does not belong to this config.json: copy the model folder again",
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"the weights lack {len(missing)} tensors, such as {missing[0]}",
            str(folder),
            "copy the model folder again; transformers would have filled them with random numbers",
        )
    return model.eval()


def _choice(what: str, value: str, possible: tuple[str, ...]) -> None:
    if value not in possible:
        raise UserError(f"{value!r} is no {what}", what, f"use one of {', '.join(possible)}")


def _device(device: str | None) -> torch.device:
    return usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
