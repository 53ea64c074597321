"""Small GGUF files, as llama.cpp writes them: a random Gemma 3 with a vocabulary of bytes, and a Llama."""

import json
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
_NAMES = {  # Llama's are these, but for one norm
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
    numbers = _numbers(config) | {
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
    return _written(writer, path)


def write_llama(path: Path, folder: Path) -> Path:
    """Writes a Llama's folder in half precision, each head's queries and keys in llama.cpp's order."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16)
    words = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    config, writer = model.config, GGUFWriter(path, "llama")
    numbers = _numbers(config) | {"rope.dimension_count": config.head_dim}
    for key, number in numbers.items():
        writer.add_uint32(f"llama.{key}", number)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", config.rms_norm_eps)
    writer.add_float32("llama.rope.freq_base", config.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(words["model"]["vocab"], key=words["model"]["vocab"].get))
    writer.add_token_merges([" ".join(pair) for pair in words["model"]["merges"]])
    special = {token["id"] for token in words["added_tokens"]}
    writer.add_token_types([3 if place in special else 1 for place in range(config.vocab_size)])
    writer.add_bos_token_id(config.bos_token_id)
    for name, parameter in model.named_parameters():
        for theirs, ours in (_NAMES | {"post_attention_layernorm": "ffn_norm"}).items():
            name = name.replace(theirs, ours)
        values = parameter.detach().numpy()
        if (kind := name.split(".")[-2]) in ("attn_q", "attn_k"):
            heads = config.num_attention_heads if kind == "attn_q" else config.num_key_value_heads
            halves = values.reshape(heads, 2, -1, values.shape[1])
            values = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
        writer.add_tensor(name, values if values.ndim > 1 else values.astype(np.float32))
    return _written(writer, path)


def _numbers(config: Any) -> dict[str, int]:
    return {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
    }


def _written(writer: GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
