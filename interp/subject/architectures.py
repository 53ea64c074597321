"""Translates Hugging Face configurations to TransformerLens' terms, one function per architecture."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from interp.errors import UserError
from interp.subject.folder import architecture_name


@dataclass(frozen=True)
class Architecture:
    """A model family: its configuration in TransformerLens' terms, its converter in `weight_conversions`.

    `auto` is whether the backend of that name is `hooked` for it.
    """

    settings: Callable[[Any], dict[str, Any]]
    converter: str
    auto: bool = True


def _common(config: Any) -> dict[str, Any]:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return {
        "d_model": config.hidden_size,
        "d_head": head,
        "n_heads": config.num_attention_heads,
        "n_layers": config.num_hidden_layers,
        "n_ctx": config.max_position_embeddings,
        "d_vocab": config.vocab_size,
    }


def _rope_theta(config: Any) -> float:
    theta = getattr(config, "rope_theta", None)
    return float(theta if theta is not None else config.rope_parameters["rope_theta"])


def _rotary(config: Any) -> dict[str, Any]:
    rope = getattr(config, "rope_parameters", None) or {}
    settings: dict[str, Any] = {"positional_embedding_type": "rotary"}
    if "full_attention" in rope:  # Gemma-3: each kind of layer has its own base
        local, rope = rope["sliding_attention"], rope["full_attention"]
        if local.get("rope_type", "default") != "default":
            raise _unsupported("scaled rotary embeddings in layers of sliding attention")
        settings |= {"rotary_base": rope["rope_theta"], "rotary_base_local": local["rope_theta"]}
    else:
        settings["rotary_base"] = _rope_theta(config)
    kind = rope.get("rope_type", "default")
    if kind == "llama3":
        settings |= {
            "use_NTK_by_parts_rope": True,
            "NTK_original_ctx_len": rope["original_max_position_embeddings"],
            "NTK_by_parts_low_freq_factor": rope["low_freq_factor"],
            "NTK_by_parts_high_freq_factor": rope["high_freq_factor"],
            "NTK_by_parts_factor": rope["factor"],
        }
    elif kind == "linear":
        settings["rotary_scaling_factor"] = rope["factor"]
    elif kind != "default":
        raise _unsupported(f"rotary embeddings of type {kind!r}")
    return settings


def _gated_rms(config: Any) -> dict[str, Any]:
    """The fields of RMSNorm, rotary positions, gated MLPs and grouped heads (Llama, Gemma-2, Qwen-3)."""
    groups = config.num_key_value_heads
    common = _common(config) | _rotary(config)
    return common | {
        "d_mlp": config.intermediate_size,
        "eps": config.rms_norm_eps,
        "normalization_type": "RMS",
        "final_rms": True,
        "gated_mlp": True,
        "rotary_dim": common["d_head"],
        "n_key_value_heads": None if groups == config.num_attention_heads else groups,
    }


def _llama(config: Any) -> dict[str, Any]:
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        raise _unsupported("Llama with biases")
    return _gated_rms(config) | {"act_fn": config.hidden_act}


def _qwen3(config: Any) -> dict[str, Any]:
    if getattr(config, "attention_bias", False) or getattr(config, "use_sliding_window", False):
        raise _unsupported("Qwen-3 with attention biases or a sliding window")
    return _gated_rms(config) | {"act_fn": config.hidden_act, "use_qk_norm": True}


def _gemma2(config: Any) -> dict[str, Any]:
    kinds = {"sliding_attention": "local", "full_attention": "global"}
    return _gated_rms(config) | {
        "act_fn": config.hidden_activation,
        # Gemma-2 always has separate key-value matrices in the converter's naming.
        "n_key_value_heads": config.num_key_value_heads,
        "attn_scale": float(config.query_pre_attn_scalar) ** 0.5,
        "use_local_attn": True,
        "window_size": config.sliding_window,
        "attn_types": [kinds[kind] for kind in config.layer_types],
        "attn_scores_soft_cap": config.attn_logit_softcapping or -1.0,
        "output_logits_soft_cap": config.final_logit_softcapping or -1.0,
        "use_normalization_before_and_after": True,
    }


def _gemma3(config: Any) -> dict[str, Any]:
    if config.attention_bias or config.use_bidirectional_attention:
        raise _unsupported("Gemma-3 with attention biases, or attention in both directions")
    return _gemma2(config) | {"use_qk_norm": True}


def _gpt2(config: Any) -> dict[str, Any]:
    return _common(config) | {
        "d_mlp": config.n_inner or 4 * config.n_embd,
        "eps": config.layer_norm_epsilon,
        "act_fn": config.activation_function,
        "normalization_type": "LN",
        "use_attn_scale": config.scale_attn_weights,
        "scale_attn_by_inverse_layer_idx": config.scale_attn_by_inverse_layer_idx,
    }


def _gpt_neox(config: Any) -> dict[str, Any]:
    if not getattr(config, "attention_bias", True):
        raise _unsupported("GPT-NeoX without attention biases")
    common = _common(config) | _rotary(config)
    share = (getattr(config, "rope_parameters", None) or {}).get("partial_rotary_factor")
    share = share if share is not None else getattr(config, "rotary_pct", 1.0)
    return common | {
        "d_mlp": config.intermediate_size,
        "eps": config.layer_norm_eps,
        "act_fn": config.hidden_act,
        "normalization_type": "LN",
        "parallel_attn_mlp": config.use_parallel_residual,
        "rotary_dim": int(common["d_head"] * share),
    }


ARCHITECTURES: dict[str, Architecture] = {
    "LlamaForCausalLM": Architecture(_llama, "convert_llama_weights"),
    "GPT2LMHeadModel": Architecture(_gpt2, "convert_gpt2_weights"),
    "GPTNeoXForCausalLM": Architecture(_gpt_neox, "convert_neox_weights"),
    "Gemma2ForCausalLM": Architecture(_gemma2, "convert_gemma_weights"),
    # HookedTransformer keeps Gemma-3's embedding of 262,144 rows twice, and copies one in every pass.
    "Gemma3ForCausalLM": Architecture(_gemma3, "convert_gemma_weights", auto=False),
    "Qwen3ForCausalLM": Architecture(_qwen3, "convert_qwen3_weights"),
}


def chosen_backend(config: Any, backend: str) -> str:
    """Resolves `auto` for a model with this configuration of `transformers`; returns other names as they are.

    `auto` is `hooked` where that builds the model (tests compare each such architecture with `transformers`)
    and is no worse than the bridge.

    Raises:
        UserError: `hooked` is asked for and cannot build it.
    """
    if backend == "bridge":
        return backend
    try:
        family = architecture_of(architecture_name(config))
        family.settings(config)
    except UserError:
        if backend == "auto":
            return "bridge"
        raise
    return "hooked" if family.auto or backend == "hooked" else "bridge"


def architecture_of(name: str) -> Architecture:
    """The architecture that `hooked` can build under this name.

    Raises:
        UserError: there is none; the error lists those that exist, and names the other backend.
    """
    if name not in ARCHITECTURES:
        raise _unsupported(name)
    return ARCHITECTURES[name]


def _unsupported(what: str) -> UserError:
    return UserError(
        f"the hooked backend cannot build {what}",
        "backend hooked",
        f"use backend: bridge (hooked builds {', '.join(ARCHITECTURES)})",
    )
