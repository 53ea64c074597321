"""A trained Llama as an ordinary Hugging Face folder."""

from pathlib import Path

import torch

from interp.bundled.llama.model import NORM_EPSILON, ROPE_BASE, Llama, ModelSize
from interp.track.files import write_json, write_safetensors


def write_model(model: Llama, folder: Path, bos_id: int, pad_id: int) -> None:
    """Write config.json and model.safetensors; the weights are rounded to half precision, once.

    A document ends where the next begins: the end-of-sequence token is the beginning-of-sequence token.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"model.{name}": value.detach().to(torch.float16) for name, value in model.state_dict().items()
    }
    write_safetensors(folder / "model.safetensors", weights, {"format": "pt"})
    write_json(folder / "config.json", config(model.shape, bos_id, pad_id))


def config(shape: ModelSize, bos_id: int, pad_id: int) -> dict[str, object]:
    """The content of config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.d_vocab,
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_mlp,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_heads,
        "head_dim": shape.d_head,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROPE_BASE,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE},
        "max_position_embeddings": shape.n_ctx,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": bos_id,
        "eos_token_id": bos_id,
        "pad_token_id": pad_id,
        "dtype": "float16",
    }
