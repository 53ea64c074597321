"""Reads weights and tokenizers with `transformers`: from safetensors and JSON, without running code."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from interp.device import out_of_memory
from interp.errors import UserError
from interp.subject.folder import read_config
from interp.subject.memory import LOWER_MODEL, full
from interp.subject.model_files import COPY, check_folder, check_weights, stored_shapes, weight_files
from interp.subject.placement import usable_map
from interp.subject.quantized import (
    compute_with_unpacked_weights,
    is_quantized,
    quantization,
    quiet_bitsandbytes,
)
from interp.subject.quiet import first_line, quiet
from interp.subject.sizes import check_size
from interp.tensors import check_file_finite, first_not_finite

_LANGUAGE_MODEL = {
    r"^language_model\.lm_head": "lm_head",
    r"^(model\.)?language_model\.(model\.)?": "model.",
}
"""Renames tensors of a model with vision to those of its language model."""
_PROBE = "".join(unit * 60 + "!" for unit in "aA1 \n-.é'")
_PROBE_SECONDS = 15.0


def read_weights(
    folder: Path,
    dtype: torch.dtype,
    attention: str | None = "eager",
    device_map: str | Mapping[str, str | int] | None = None,
    quantize: str | None = None,
) -> Any:
    """Reads the folder's language model as `transformers` loads it: on the CPU, if `device_map` is None.

    `attention` is its implementation of attention; None leaves the choice to `transformers`. `device_map` is
    checked by `usable_map`, `quantize` (`8bit`, `4bit`) by `quantization`.

    Raises:
        UserError: a file of the folder must not be opened (`check_folder`); the weights are damaged,
            incomplete, in two files, of other shapes than `config.json` says, or not finite; or they do not
            fit into the memory of a device.
    """
    from transformers import AutoModelForCausalLM

    check_weights(folder)
    check_folder(folder)
    config = read_config(folder)
    stored = stored_shapes(folder)
    with quiet():
        check_size(config, stored, str(folder))
    options: dict[str, Any] = {}
    quiet_bitsandbytes()
    if device_map is not None:
        options["device_map"] = usable_map(device_map, config)
    if quantize is not None:
        options["quantization_config"] = quantization(quantize, dtype)
    try:
        with quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                str(folder),
                config=config,
                dtype=dtype,
                attn_implementation=attention,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                key_mapping=_LANGUAGE_MODEL,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # safetensors, torch and transformers raise different exceptions for this
        if out_of_memory(error):
            raise full("its weights are read", error, "cpu", str(folder), LOWER_MODEL) from error
        if options:
            raise UserError(
                f"transformers cannot load it so ({first_line(error)})",
                f"{' and '.join(options)}, {folder}",
                "load it without, or choose another device_map",
            ) from error
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
    if quantize is not None and not is_quantized(model):
        raise UserError(
            f"bitsandbytes packs none of the layers of {type(model).__name__}",
            str(folder),
            "leave quantize out",
        )
    read = [(name, one) for name, one in model.named_parameters() if not one.is_meta]
    elsewhere = len(read) < len(list(model.parameters())) or is_quantized(model)
    if elsewhere or first_not_finite(read):  # in the files, or by overflow in half precision
        for file in weight_files(folder):
            check_file_finite(file, COPY)
    compute_with_unpacked_weights(model)
    return model.eval()


def read_tokenizer(folder: Path) -> Any:
    """Reads the folder's tokenizer as `transformers` loads it.

    Raises:
        UserError: a file of the folder must not be opened (`check_folder`); the tokenizer is missing or
            damaged, has no words, or does not finish a short text.
    """
    from transformers import AutoTokenizer

    check_folder(folder)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True
            )
            words = tokenizer.get_vocab()
    except Exception as error:  # missing, damaged and unknown tokenizers all raise here
        raise _unreadable(f"the tokenizer cannot be read ({first_line(error)})", folder) from error
    except BaseException as error:
        if not _is_panic(error):
            raise
        raise _unreadable(f"the tokenizer cannot be read ({first_line(error)})", folder) from error
    if not words:
        raise UserError("the tokenizer has no words", str(folder), "put the model's tokenizer.json there")
    _try_out(tokenizer, folder)
    return tokenizer


def _try_out(tokenizer: Any, folder: Path) -> None:
    """Tokenises a text of long runs, on which a backtracking pattern would not finish."""
    panics: list[BaseException] = []

    def split() -> None:
        try:
            tokenizer(_PROBE, add_special_tokens=False)
        except BaseException as error:  # an unknown word is not checked here
            panics.extend([error] if _is_panic(error) else [])

    thread = threading.Thread(target=split, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    if thread.is_alive() or panics:
        why = first_line(panics[0]) if panics else f"{len(_PROBE)} characters take over {_PROBE_SECONDS:g} s"
        raise _unreadable(f"the tokenizer's patterns do not come to an end ({why})", folder)


def _is_panic(error: BaseException) -> bool:
    """Whether the tokenizers library panicked; its exception class cannot be imported."""
    return type(error).__name__ == "PanicException"


def _unreadable(what: str, folder: Path) -> UserError:
    return UserError(
        what, str(folder), "put tokenizer.json and tokenizer_config.json of this model into the folder"
    )
