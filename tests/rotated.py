"""The bundled world in other coordinates: the same function, with a residual stream that is rotated."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from interp.bundled.world import world_folder


def rotated_world(folder: Path, seed: int = 0) -> Path:
    """A Hugging Face folder whose model answers as `world` does.

    Norm weights are folded into what follows, since a rotation does not pass through them; RMSNorm itself
    does.
    """
    model: Any = AutoModelForCausalLM.from_pretrained(world_folder(), dtype=torch.float32)
    width = model.config.hidden_size
    turn, _ = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))
    embedding = model.model.embed_tokens.weight.data.clone()

    def reading(weight: Tensor, norm: Any) -> Tensor:
        return (weight * norm.weight) @ turn

    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(reading(embedding, model.model.norm))
        model.model.embed_tokens.weight = torch.nn.Parameter(embedding @ turn)
        model.config.tie_word_embeddings = False
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for part in (attention.q_proj, attention.k_proj, attention.v_proj):
                part.weight.copy_(reading(part.weight, layer.input_layernorm))
            for part in (mlp.gate_proj, mlp.up_proj):
                part.weight.copy_(reading(part.weight, layer.post_attention_layernorm))
            for part in (attention.o_proj, mlp.down_proj):
                part.weight.copy_(turn.T @ part.weight)
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):
                norm.weight.fill_(1)
        model.model.norm.weight.fill_(1)
    model.save_pretrained(folder)
    for file in world_folder().glob("token*.json"):
        shutil.copy(file, folder)
    return folder
