"""Weights in 8 or 4 bits: bitsandbytes through `transformers`, to read activations and their gradients."""

import importlib.util
import logging
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interp.errors import UserError

Quantize = Literal["8bit", "4bit"]
"""`8bit`: each row of a matrix in 255 steps (weights of LLM.int8, Dettmers et al. 2022, arXiv 2208.07339);
`4bit`: NF4 (Dettmers et al. 2023, arXiv 2305.14314). Activations are not rounded."""
_FIELD = "quantize"
_PACKED = ("Int8Params", "Params4bit")


def quantization(quantize: str, dtype: torch.dtype) -> Any:
    """The configuration with which `transformers` quantises a model's linear layers; it computes in `dtype`.

    Embedding, unembedding and norms stay as they are.

    Raises:
        UserError: bitsandbytes is not installed, or does not compute in this float type.
    """
    missing = [one for one in ("bitsandbytes", "accelerate") if importlib.util.find_spec(one) is None]
    if missing:
        raise UserError(
            f"{quantize} weights need {' and '.join(missing)}, which cannot be found",
            _FIELD,
            "pip install 'interp[quantized]', or leave quantize out",
        )
    if dtype == torch.float64:
        raise UserError(
            "bitsandbytes does not compute in float64",
            f"{_FIELD} {quantize}",
            "use dtype bfloat16 or float32",
        )
    from transformers import BitsAndBytesConfig

    quiet_bitsandbytes()
    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def stored_bits(config: Any) -> Quantize | None:
    """In what bits bitsandbytes has stored a folder's weights, by its configuration; None if in none."""
    stored = getattr(config, "quantization_config", None)
    values = stored if isinstance(stored, dict) else getattr(stored, "__dict__", {})
    if values.get("load_in_8bit") or values.get("_load_in_8bit"):
        return "8bit"
    return "4bit" if values.get("load_in_4bit") or values.get("_load_in_4bit") else None


def quiet_bitsandbytes() -> None:
    """Silences what bitsandbytes would say when it is imported, and of every matrix that it multiplies by."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def is_quantized(model: nn.Module) -> bool:
    """Whether a model has weights that are packed into fewer bits."""
    return any(type(one).__name__ in _PACKED for one in model.parameters())


def compute_with_unpacked_weights(model: nn.Module) -> None:
    """Makes a quantised model compute what `transformers` computes with the same weights unpacked.

    Two things of bitsandbytes are changed. LLM.int8 also rounds activations, all but the columns that are
    large anywhere in a batch: what is read at a token then depends on later tokens and other rows (in Gemma 3
    270M a logit by up to 3). Here each 8-bit matrix is unpacked for its product. On processors with AVX-512
    BF16, 4-bit matrices are laid out anew at the first pass, and no gradient passes through them then,
    without a message: that is switched off.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010
        if type(module.weight if hasattr(module, "weight") else None).__name__ == "Int8Params":
            hooked = hasattr(module, "_old_forward")  # by accelerate
            setattr(module, "_old_forward" if hooked else "forward", partial(_product, module))


def _product(module: Any, activation: Tensor) -> Tensor:
    weight = unpacked(module, module.weight, activation.dtype)
    return nn.functional.linear(activation, weight, module.bias)


def unpacked(module: nn.Module, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A packed weight [d_out, d_in] as the numbers that it stands for; others are returned as they are."""
    if type(weight).__name__ not in _PACKED:
        return weight
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    found: Tensor = dequantize_bnb_weight(weight, getattr(module, "state", None))
    return found.to(dtype)
