"""Small random models of each architecture, saved as ordinary Hugging Face folders with a tokenizer."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

D_VOCAB = 260
_SHAPE = {
    "vocab_size": D_VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_IDS = {"bos_token_id": 0, "eos_token_id": 1}

CONFIGS: dict[str, PretrainedConfig] = {
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
    "gpt2": GPT2Config(vocab_size=D_VOCAB, n_embd=32, n_layer=3, n_head=4, n_positions=64, **_IDS),
    "gpt-neox": GPTNeoXConfig(**_SHAPE, **_IDS, rotary_pct=0.25),
    "gpt-neox-sequential": GPTNeoXConfig(**_SHAPE, **_IDS, use_parallel_residual=False),
    "gemma2": Gemma2Config(
        **_SHAPE,
        **_IDS,
        num_key_value_heads=2,
        head_dim=16,
        sliding_window=5,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
        query_pre_attn_scalar=24,
    ),
    "qwen3": Qwen3Config(**_SHAPE, num_key_value_heads=2, head_dim=16),
}


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
    save_tokenizer(folder, bos=None if name == "qwen3" else "<s>")
    return folder
