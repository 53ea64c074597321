"""A Hugging Face cache made by hand, with small SAEs in the very files that published releases have."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

COMMIT = "0123456789abcdef0123456789abcdef01234567"
N_LATENTS = 24
D_IN = 32
"""How wide the residual streams of the small models are."""

GEMMA = ("gemma-scope-2b-pt-res-canonical", "layer_1/width_16k/canonical")
GEMMA_REPO, GEMMA_PATH = "google/gemma-scope-2b-pt-res", "layer_1/width_16k/average_l0_102"
LLAMA = ("llama_scope_lxr_8x", "l1r_8x")
LLAMA_REPO, LLAMA_PATH = "fnlp/Llama3_1-8B-Base-LXR-8x", "Llama3_1-8B-Base-L1R-8x"
GPT2 = ("gpt2-small-res-jb", "blocks.1.hook_resid_pre")
GPT2_REPO = "jbloom/GPT2-Small-SAEs-Reformatted"


class HubCache:
    """An empty cache in a folder, which the hub's client is pointed at; nothing is asked of the network."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        self.folder = folder
        self._patch = patch
        patch.setattr(constants, "HF_HUB_CACHE", str(folder))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)

    def path(self, repo: str, name: str) -> Path:
        """Where a file of a repository lies, its folders made."""
        root = self.folder / f"models--{repo.replace('/', '--')}"
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / "main").write_text(COMMIT)
        file = root / "snapshots" / COMMIT / name
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def override(self, release: str, **values: Any) -> None:
        """Gives a registered release other values where its loader knows the real sizes by heart."""
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

        registry = get_pretrained_saes_directory()
        lookup = registry[release]
        merged = {**(lookup.config_overrides or {}), **values}
        self._patch.setitem(registry, release, dataclasses.replace(lookup, config_overrides=merged))


def arrays(d_in: int, seed: int = 0, n_latents: int = N_LATENTS) -> dict[str, Tensor]:
    """The weights of a random SAE, in SAELens' shapes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "W_enc": draw(d_in, n_latents) / d_in**0.5,
        "W_dec": draw(n_latents, d_in),
        "b_enc": 0.1 * draw(n_latents),
        "b_dec": 0.1 * draw(d_in),
        "threshold": draw(n_latents).abs(),
    }


def gemma_scope(
    cache: HubCache, d_in: int, repo: str = GEMMA_REPO, path: str = GEMMA_PATH
) -> dict[str, Tensor]:
    """Gemma Scope: one params.npz, sizes known to the loader."""
    weights = arrays(d_in)
    named = {name.replace("W_", "w_"): value.numpy() for name, value in weights.items()}
    np.savez(cache.path(repo, f"{path}/params.npz"), **named)
    cache.override(GEMMA[0], d_in=d_in, d_sae=N_LATENTS)
    return weights


def llama_scope(cache: HubCache, d_in: int, norm: float, threshold: float) -> dict[str, Tensor]:
    """Llama Scope: hyperparams.json, and weights in PyTorch's layout."""
    weights = arrays(d_in)
    hyperparameters = {
        "d_model": d_in,
        "d_sae": N_LATENTS,
        "jump_relu_threshold": threshold,
        "dataset_average_activation_norm": {"in": norm, "out": norm},
        "hook_point_in": "blocks.1.hook_resid_post",
    }
    cache.path(LLAMA_REPO, f"{LLAMA_PATH}/hyperparams.json").write_text(json.dumps(hyperparameters))
    save_file(
        {
            "encoder.weight": weights["W_enc"].T.contiguous().bfloat16(),
            "encoder.bias": weights["b_enc"].bfloat16(),
            "decoder.weight": weights["W_dec"].T.contiguous().bfloat16(),
            "decoder.bias": weights["b_dec"].bfloat16(),
        },
        cache.path(LLAMA_REPO, f"{LLAMA_PATH}/checkpoints/final.safetensors"),
    )
    return {name: value.bfloat16().float() for name, value in weights.items()}


def sae_lens(
    cache: HubCache, d_in: int, repo: str = GPT2_REPO, path: str = GPT2[1], config: Mapping[str, Any] = {}
) -> dict[str, Tensor]:
    """SAELens' own files, as version 2 wrote them: a flat cfg.json, weights, log10 firing rates."""
    weights = arrays(d_in)
    del weights["threshold"]
    written = {
        "d_in": d_in,
        "d_sae": N_LATENTS,
        "dtype": "torch.float32",
        "device": "cpu",
        "model_name": "gpt2-small",
        "hook_point": "blocks.1.hook_resid_pre",
        "context_size": 64,
    }
    cache.path(repo, f"{path}/cfg.json").write_text(json.dumps(written | dict(config)))
    save_file(weights, cache.path(repo, f"{path}/sae_weights.safetensors"))
    save_file({"sparsity": torch.zeros(N_LATENTS)}, cache.path(repo, f"{path}/sparsity.safetensors"))
    return weights
