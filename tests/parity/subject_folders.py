"""Small random models of each architecture, saved as ordinary Hugging Face folders with a tokenizer."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Cohere2Config,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTBigCodeConfig,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    MptConfig,
    Olmo2Config,
    OpenAIGPTConfig,
    OPTConfig,
    PhiConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

D_VOCAB = 260
_STREAM = {
    "vocab_size": D_VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_SHAPE = _STREAM | {"intermediate_size": 48}
_IDS = {"bos_token_id": 0, "eos_token_id": 1}
_GPT2 = {"vocab_size": D_VOCAB, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
_OPT = _STREAM | {"ffn_dim": 48, "dropout": 0.0, "pad_token_id": 1}
_GEMMA = {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 24}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}

HOOKED: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**_SHAPE, **_IDS, num_key_value_heads=2, rope_theta=5e3),
    "llama3-rope": LlamaConfig(
        **_SHAPE,
        **_IDS,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 1e3,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ),
    "gpt2": GPT2Config(**_GPT2, **_IDS),
    "gpt-neox": GPTNeoXConfig(**_SHAPE, **_IDS, rotary_pct=0.25),
    "gpt-neox-sequential": GPTNeoXConfig(**_SHAPE, **_IDS, use_parallel_residual=False),
    "gemma2": Gemma2Config(
        **_SHAPE, **_IDS, **_GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=3.0
    ),
    "gemma3": Gemma3TextConfig(
        **_SHAPE,
        **_IDS,
        **_GEMMA,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e2},
            "full_attention": {"rope_type": "linear", "rope_theta": 1e3, "factor": 4.0},
        },
    ),
    "qwen3": Qwen3Config(**_SHAPE, num_key_value_heads=2, head_dim=16),
}
"""One folder for each architecture, or way to configure one, that the `hooked` backend builds."""

OTHERS: dict[str, PretrainedConfig] = {
    "bloom": BloomConfig(vocab_size=D_VOCAB, hidden_size=32, n_layer=3, n_head=4, **_IDS),
    "cohere": CohereConfig(**_SHAPE, **_IDS, num_key_value_heads=2, logit_scale=0.5),
    "cohere2": Cohere2Config(**_SHAPE, **_IDS, num_key_value_heads=2, logit_scale=0.5, sliding_window=5),
    "falcon": FalconConfig(**_STREAM, **_IDS),
    "falcon-alibi": FalconConfig(**_STREAM, **_IDS, alibi=True, parallel_attn=False, multi_query=False),
    "gpt1": OpenAIGPTConfig(**_GPT2, **_IDS),
    "gpt2-unscaled": GPT2Config(**_GPT2, **_IDS, scale_attn_weights=False),
    "gpt-bigcode": GPTBigCodeConfig(**_GPT2, **_IDS),
    "gpt-bigcode-unscaled": GPTBigCodeConfig(**_GPT2, **_IDS, scale_attn_weights=False),
    "gptj": GPTJConfig(**_GPT2, **_IDS, rotary_dim=4),
    "gpt-neo": GPTNeoConfig(
        vocab_size=D_VOCAB,
        hidden_size=32,
        num_layers=3,
        num_heads=4,
        attention_types=[[["global", "local", "global"], 1]],
        window_size=5,
        intermediate_size=48,
        max_position_embeddings=64,
        **_IDS,
    ),
    "gpt-oss": GptOssConfig(
        **_SHAPE,
        **_IDS,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=5,
        num_local_experts=4,
        num_experts_per_tok=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e3},
    ),
    "granite": GraniteConfig(
        **_SHAPE,
        **_IDS,
        num_key_value_heads=2,
        embedding_multiplier=2.0,
        logits_scaling=3.0,
        residual_multiplier=0.5,
        attention_multiplier=0.3,
    ),
    "mistral": MistralConfig(**_SHAPE, **_IDS, num_key_value_heads=2, sliding_window=5),
    "mixtral": MixtralConfig(
        **_SHAPE, **_IDS, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2
    ),
    "mpt": MptConfig(vocab_size=D_VOCAB, d_model=32, n_heads=4, n_layers=3, max_seq_len=64, **_IDS),
    "olmo2": Olmo2Config(**_SHAPE, **_IDS, num_key_value_heads=2),
    "opt": OPTConfig(**_OPT, **_IDS),
    "opt-350m": OPTConfig(**_OPT, **_IDS, word_embed_proj_dim=16, do_layer_norm_before=False),
    "phi": PhiConfig(**_SHAPE, **_IDS, partial_rotary_factor=0.5),
    "qwen2": Qwen2Config(**_SHAPE, num_key_value_heads=2),
    "qwen2-moe": Qwen2MoeConfig(
        **_SHAPE, **_EXPERTS, num_key_value_heads=2, shared_expert_intermediate_size=48
    ),
    "qwen3-moe": Qwen3MoeConfig(**_SHAPE, **_EXPERTS, num_key_value_heads=2, head_dim=16),
}
"""Architectures that only the bridge may take, as their published models are configured."""

CONFIGS = HOOKED | OTHERS


def built(names: Iterable[str]) -> list[Any]:
    """Every pair of a folder and a backend that builds it, as parameters of a test."""
    return [
        pytest.param((name, backend), id=f"{name}-{backend}")
        for name in names
        for backend in ("hooked", "bridge")
        if backend == "bridge" or name in HOOKED
    ]


def save_tokenizer(folder: Path, bos: str | None, adds_bos: bool = False, **options: str) -> None:
    """A byte-level tokenizer, with or without a BOS token and a post-processor that writes one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1} | {byte: i + 2 for i, byte in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if adds_bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token="</s>", **options)
    fast.save_pretrained(folder)


def save_model(name: str, folder: Path) -> Path:
    """Random weights, large enough that every part of the architecture shows in the logits."""
    torch.manual_seed(0)
    config = CONFIGS[name]
    config.initializer_range = 0.3
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    save_tokenizer(folder, bos=None if name.startswith("qwen") else "<s>")
    return folder
