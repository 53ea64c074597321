"""Corrects what TransformerLens' bridge computes differently from `transformers`."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge


def corrected(model: TransformerBridge, dtype: torch.dtype) -> None:
    """Corrects a bridge in place: rotation, scale and float type of queries and keys, and what masks hide."""
    rotary = getattr(model, "rotary_emb", None)
    if rotary is not None and type(rotary.original_component).__name__.startswith("Cohere"):
        _rotate_neighbours(model, rotary.original_component)
    for attention in (block.attn for block in model.blocks if getattr(block, "attn", None) is not None):
        for name in ("hook_rot_q", "hook_rot_k"):  # OLMo 2's tables are wider than the model's float type
            if (point := getattr(attention, name, None)) is not None:
                point.register_forward_hook(lambda module, inputs, output: output.to(dtype))
        if model.cfg.architecture == "OpenAIGPTLMHeadModel":  # its masks of one row hide padding only
            attention.register_forward_pre_hook(_hide_what_is_later, with_kwargs=True)
        if not getattr(model.original_model.config, "scale_attn_weights", True):  # of GPT-2 and GPTBigCode
            attention.q.register_forward_hook(lambda module, inputs, output: output * model.cfg.d_head**0.5)
        if dtype == torch.float64:
            attention.register_forward_pre_hook(_mask_in_single_precision, with_kwargs=True)


def square(
    mask: Tensor | None, states: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, "_ _ pos seen"] | Bool[Tensor, "_ _ pos seen"]:
    """Gives a mask of whole prompts a row for every query, in which later keys are hidden.

    One that has these rows is returned as it is, also over the keys that a cache holds.
    """
    length = states.shape[1]
    if mask is not None and mask.shape[-2] == length:
        return mask
    lowest = torch.finfo(states.dtype).min
    causal = torch.full((1, 1, length, length), lowest, dtype=states.dtype, device=states.device).triu(1)
    return causal if mask is None else torch.minimum(causal, mask)


def _hide_what_is_later(module: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, Any] | None:
    mask = given.get("attention_mask")
    if mask is None:
        return None
    return args, given | {"attention_mask": square(mask, args[0])}


def _mask_in_single_precision(
    module: Any, args: tuple[Any, ...], given: dict[str, Any]
) -> tuple[Any, Any] | None:
    """Clamps masks to single precision, in which the softmax is: double's lowest number would be infinite."""
    mask = given.get("attention_mask")
    if mask is None or not mask.is_floating_point():
        return None
    return args, given | {"attention_mask": mask.clamp(min=torch.finfo(torch.float32).min)}


def _rotate_neighbours(model: TransformerBridge, rotary: Any) -> None:
    """Rotates neighbouring elements together, as Cohere does; the bridge rotates halves.

    `transformers` gives each frequency twice in a row; the library wants one half after the other.
    """
    for block in model.blocks:
        block.attn.config.rotary_adjacent_pairs = True

    def halves(module: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        cos, sin = (torch.cat([table[..., ::2]] * 2, -1) for table in output)
        return cos, sin

    rotary.register_forward_hook(halves)
