"""The size of a model from its configuration alone: parameters and widths, without weights."""

from typing import Any

from interp.bundled.gemma import GEMMA
from interp.cost import SubjectShape
from interp.subject.architectures import chosen_backend
from interp.subject.folder import find_folder, mlp_width, read_config

_ROPE_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_GEMMA3_270M = {
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_hidden_layers": 18,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "vocab_size": 262144,
    "max_position_embeddings": 32768,
    "dtype": "bfloat16",
}
_GEMMA2 = {"head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192, "dtype": "float32"}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-community/gpt2": ("gpt2", {}),
    "EleutherAI/pythia-70m-deduped": (
        "gpt_neox",
        {
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "vocab_size": 50304,
            "dtype": "float16",
        },
    ),
    GEMMA: ("gemma3_text", _GEMMA3_270M),
    "google/gemma-2-2b": (
        "gemma2",
        _GEMMA2
        | {
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
        },
    ),
    "meta-llama/Llama-3.1-8B": (
        "llama",
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
            "dtype": "bfloat16",
            "max_position_embeddings": 131072,
            "rope_parameters": _ROPE_LLAMA3,
        },
    ),
    "meta-llama/Llama-3.1-70B": (
        "llama",
        {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
            "dtype": "bfloat16",
            "max_position_embeddings": 131072,
            "rope_parameters": _ROPE_LLAMA3,
        },
    ),
}
"""Configurations of the models that this repository's configs name, to estimate costs without a download:
`model_type`, and what differs from `transformers`' defaults."""


def subject_shape(name: str) -> SubjectShape:
    """The sizes of a model: a bundled name, a folder, or a hub name (of `PUBLISHED`: without asking the hub).

    Raises:
        UserError: as `interp.subject.folder.subject_info`.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if name in PUBLISHED:
        kind, values = PUBLISHED[name]
        config = AutoConfig.for_model(kind, **values)
        config.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]]
    else:
        config = read_config(find_folder(name))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    counted = {key: parameter.numel() for key, parameter in model.named_parameters()}
    n_layers, d_model = int(config.num_hidden_layers), int(config.hidden_size)
    embedding = int(config.vocab_size) * d_model
    in_layers = sum(size for key, size in counted.items() if ".0." in key)
    untied = 0 if any("lm_head" in key or "embed_out" in key for key in counted) else embedding
    return SubjectShape(
        name=name,
        n_parameters=sum(counted.values()) + untied,
        n_block_parameters=in_layers,
        n_layers=n_layers,
        d_model=d_model,
        d_mlp=mlp_width(config),
        n_heads=int(config.num_attention_heads),
        d_vocab=int(config.vocab_size),
        backend=chosen_backend(config, "auto"),
    )
