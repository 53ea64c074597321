"""Small GGUF files: a random Gemma 3 with a vocabulary of bytes, as llama.cpp writes one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from transformers import AutoModelForCausalLM, Gemma3TextConfig

WORDS = ("<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)))
LETTERS = ("▁", "a", "t", "e", "w", "r", "wa", "ter", "te", "water", "▁water", "é", "\n")
TOKENS = (*WORDS, *LETTERS)
_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "model.layers": "blk",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip


def gemma(n_layers: int = 6) -> Any:
    """A random model of `transformers`, whose last layer of six attends to the whole text."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=len(TOKENS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=256,
        sliding_window=4,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return model


def write_gguf(
    path: Path,
    model: Any,
    kinds: Mapping[str, GGMLQuantizationType] | None = None,
    tokens: Sequence[str] = TOKENS,
    more: Mapping[str, np.ndarray] | None = None,
    **metadata: int,
) -> Path:
    """Writes a model; `kinds` are types of tensors by the last part of a name, `more` are further tensors."""
    config, writer = model.config, GGUFWriter(path, "gemma3")
    numbers = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.sliding_window": config.sliding_window,
    }
    for key, number in (numbers | metadata).items():
        writer.add_uint32(f"gemma3.{key}", number)
    writer.add_float32("gemma3.attention.layer_norm_rms_epsilon", config.rms_norm_eps)
    writer.add_float32("gemma3.rope.freq_base", 1e6)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(tokens))
    writer.add_token_scores([-float(place) for place in range(len(tokens))])
    writer.add_token_types([3] * 4 + [6] * 256 + [1] * (len(tokens) - 260))
    for name, place in {"bos": 2, "eos": 1, "unk": 3, "pad": 0}.items():
        getattr(writer, f"add_{name}_token_id")(place)
    for name, parameter in model.named_parameters():
        for theirs, ours in _NAMES.items():
            name = name.replace(theirs, ours)
        values = parameter.detach().numpy() + (1 if "norm" in name else 0)
        kind = (kinds or {}).get(name.split(".")[-2])
        if kind is None:
            writer.add_tensor(name, values.astype(np.float32))
        else:
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
    for name, values in (more or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
