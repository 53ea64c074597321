"""Published SAEs by release name, from a cache that the test makes, each held to its formula by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import interp.subject
import saes
from interp.errors import UserError
from interp.subject import Site, Subject
from saes.release import find_release
from saes.trained_on import UnknownTraining
from tests.parity.subject_folders import save_model
from tests.unit import hub_cache
from tests.unit.hub_cache import COMMIT, D_IN, N_LATENTS, HubCache, arrays

pytestmark = pytest.mark.filterwarnings("ignore::saes.trained_on.UnknownTraining")


def jump_relu(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    before = x @ w["W_enc"] + w["b_enc"]
    return torch.where(before > w["threshold"], before.relu(), 0.0)


def top_k(x: Tensor, w: dict[str, Tensor], k: int) -> Tensor:
    before = x @ w["W_enc"] + w["b_enc"]
    kept = torch.zeros_like(before).scatter(-1, before.topk(k).indices, 1.0)
    return before.relu() * kept


def holds(latents: saes.SaeLatents, acts: Tensor, output: Tensor, x: Tensor) -> None:
    assert (acts > 0).any() and (acts == 0).any()
    torch.testing.assert_close(latents.encode(x), acts, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(latents.reconstruct(x), output, atol=1e-4, rtol=1e-4)


def inputs(width: int = D_IN) -> Tensor:
    return torch.randn(7, 5, width, generator=torch.Generator().manual_seed(1))


def test_gemma_scope(hub: HubCache, published: Callable[..., Subject]) -> None:
    w, x = hub_cache.gemma_scope(hub, D_IN), inputs()
    latents = saes.load(published("gemma-2-2b"), "/".join(hub_cache.GEMMA))
    assert (latents.site, latents.n_features) == (Site("resid_post", 1), N_LATENTS)
    holds(latents, jump_relu(x, w), jump_relu(x, w) @ w["W_dec"] + w["b_dec"], x)


def test_llama_scope_in_the_scale_of_its_training_set(
    hub: HubCache, published: Callable[..., Subject]
) -> None:
    scale = 39.76699029126213  # the registry's factor of l1r_8x: sqrt(d) / the mean norm of the activations
    w = hub_cache.llama_scope(hub, D_IN, norm=D_IN**0.5 / scale, threshold=0.01)
    x = inputs() / scale
    acts = jump_relu(scale * x, w | {"threshold": torch.full((N_LATENTS,), 0.01 * scale)})
    latents = saes.load(published("Llama-3.1-8B"), "/".join(hub_cache.LLAMA))
    assert latents.site == Site("resid_post", 1)
    holds(latents, acts, (acts @ w["W_dec"] + w["b_dec"]) / scale, x)


def test_gpt2_res_jb_wants_folded_weights(hub: HubCache, published: Callable[..., Subject]) -> None:
    w, x = hub_cache.sae_lens(hub, D_IN), inputs()
    source = "/".join(hub_cache.GPT2)
    with pytest.raises(UserError, match=r"processing 'fold'; the subject has 'none'") as caught:
        saes.load(published("gpt2"), source)
    assert "load the subject with processing='fold'" in str(caught.value)
    for backend in ("hooked", "bridge"):
        latents = saes.load(published("gpt2", processing="fold", backend=backend), source)
        assert latents.site == Site("resid_pre", 1)
        acts = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
        holds(latents, acts, acts @ w["W_dec"] + w["b_dec"], x)


def test_pythia_in_saelens_files_that_do_not_say_the_processing(
    hub: HubCache, published: Callable[..., Subject]
) -> None:
    config = {"model_name": "pythia-70m-deduped", "hook_point": "blocks.1.hook_resid_post"}
    hub_cache.sae_lens(hub, D_IN, "ctigges/pythia-70m-deduped__res-sm_processed", "1-res-sm", config)
    with pytest.warns(UnknownTraining, match="does not say with which weight processing"):
        latents = saes.load_release(
            published("pythia-70m-deduped"), "pythia-70m-deduped-res-sm", "blocks.1.hook_resid_post"
        )
    assert latents.site == Site("resid_post", 1)


def dictionary_learning(hub: HubCache, payload: object | None = None) -> dict[str, Tensor]:
    w = arrays(D_IN)
    repo, path = "canrager/lm_sae", "pythia70m_sweep_topk_ctx128_0730/resid_post_layer_3/trainer_0"
    trainer = {
        "layer": 1,
        "dict_class": "AutoEncoderTopK",
        "k": 4,
        "activation_dim": D_IN,
        "dict_size": N_LATENTS,
        "lm_name": "EleutherAI/pythia-70m-deduped",
    }
    config = json.dumps({"trainer": trainer, "buffer": {"ctx_len": 64}})
    hub.path(repo, f"{path}/config.json").write_text(config)
    tensors = {
        "encoder.weight": w["W_enc"].T.contiguous(),
        "encoder.bias": w["b_enc"],
        "decoder.weight": w["W_dec"].T.contiguous(),
        "b_dec": w["b_dec"],
        "threshold": torch.tensor(0.3),
    }
    torch.save(payload or tensors, hub.path(repo, f"{path}/ae.pt"))
    return w


PYTHIA_TOPK = "sae_bench_pythia70m_sweep_topk_ctx128_0730/blocks.3.hook_resid_post__trainer_0"


def test_dictionary_learning(hub: HubCache, published: Callable[..., Subject]) -> None:
    w, x = dictionary_learning(hub), inputs()
    latents = saes.load(published("pythia-70m-deduped"), PYTHIA_TOPK)
    acts = top_k(x - w["b_dec"], w, 4)
    holds(latents, acts, acts @ w["W_dec"] + w["b_dec"], x)
    with pytest.raises(UserError, match="processing 'none'; the subject has 'fold'"):
        saes.load(published("pythia-70m-deduped", processing="fold"), PYTHIA_TOPK)


def test_a_pickle_of_more_than_tensors_is_refused(
    hub: HubCache, published: Callable[..., Subject], tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    dictionary_learning(hub, {"encoder.weight": Trap()})
    with pytest.raises(UserError, match="a pickle of more than tensors"):
        saes.load(published("pythia-70m-deduped"), PYTHIA_TOPK)
    assert not (tmp_path / "sprung").exists()


def test_attention_heads(hub: HubCache, published: Callable[..., Subject]) -> None:
    w = arrays(D_IN)
    del w["threshold"]
    found = find_release("gpt2-small-hook-z-kk", "blocks.1.hook_z")
    repo, path = found.repo, found.path.removesuffix(".pt")
    config = {"act_size": D_IN, "dict_size": N_LATENTS, "act_name": "blocks.1.attn.hook_z"}
    hub.path(repo, f"{path}_cfg.json").write_text(json.dumps(config))
    torch.save(w, hub.path(repo, f"{path}.pt"))
    source = "gpt2-small-hook-z-kk/blocks.1.hook_z"
    latents = saes.load(published("gpt2", processing="fold"), source)
    x = inputs().reshape(7, 5, 4, 8)
    acts = ((x.flatten(-2) - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    holds(latents, acts, (acts @ w["W_dec"] + w["b_dec"]).reshape(x.shape), x)
    with pytest.raises(UserError, match="processing 'fold'; the subject has 'none'"):
        saes.load(published("gpt2"), source)


def test_qwen_scope(hub: HubCache, published: Callable[..., Subject]) -> None:
    w, x = arrays(D_IN), inputs()
    tensors = {
        "W_enc": w["W_enc"].T.contiguous(),
        "W_dec": w["W_dec"].T.contiguous(),
        "b_enc": w["b_enc"],
        "b_dec": w["b_dec"],
    }
    torch.save(tensors, hub.path("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50", "layer1.sae.pt"))
    hub.override("qwen-scope-3-1.7b-base-w32k-l50", d_in=D_IN, d_sae=N_LATENTS, activation_fn_kwargs={"k": 4})
    with pytest.warns(UnknownTraining, match="with a beginning-of-sequence token, and .* without one"):
        latents = saes.load(published("Qwen3-1.7B-Base"), "qwen-scope-3-1.7b-base-w32k-l50/layer1")
    holds(latents, top_k(x, w, 4), top_k(x, w, 4) @ w["W_dec"] + w["b_dec"], x)


def test_gemma_scope_2_without_asking_the_hub_for_shapes(
    hub: HubCache, published: Callable[..., Subject]
) -> None:
    w, x = arrays(D_IN), inputs()
    named = {name.replace("W_", "w_"): value for name, value in w.items()}
    repo, path = "google/gemma-scope-2-1b-pt", "resid_post_all/layer_1_width_16k_l0_big"
    save_file(named, hub.path(repo, f"{path}/params.safetensors"))
    source = "gemma-scope-2-1b-pt-res-all/layer_1_width_16k_l0_big"
    with pytest.raises(UserError, match=r"trained on google/gemma-3-1b-pt, not on gemma-2-2b"):
        saes.load(published("gemma-2-2b"), source)
    latents = saes.load(published("gemma-2-2b"), source, check_model=False)
    holds(latents, jump_relu(x, w), jump_relu(x, w) @ w["W_dec"] + w["b_dec"], x)


def test_llama_scope_of_a_distilled_model(hub: HubCache, published: Callable[..., Subject]) -> None:
    w, scale = arrays(D_IN), 37.07457226753229
    x = inputs() / scale
    repo, path = "fnlp/Llama-Scope-R1-Distill", "800M-Slimpajama-0-OpenR1-Math-220k/L1R"
    config = {"d_model": D_IN, "expansion_factor": 1, "hook_point_in": "blocks.1.hook_resid_post"}
    hub.path(repo, f"{path}/config.json").write_text(json.dumps(config))
    hub.override("llama_scope_r1_distill", d_sae=N_LATENTS)
    tensors = {
        "encoder.weight": w["W_enc"].T.contiguous(),
        "encoder.bias": w["b_enc"],
        "decoder.weight": w["W_dec"].T.contiguous(),
        "decoder.bias": w["b_dec"],
        "log_jumprelu_threshold": w["threshold"].log(),
    }
    save_file(tensors, hub.path(repo, f"{path}/sae_weights.safetensors"))
    with pytest.warns(UnknownTraining, match="name different models"):
        latents = saes.load(
            published("DeepSeek-R1-Distill-Llama-8B"), "llama_scope_r1_distill/l1r_800m_slimpajama"
        )
    acts = jump_relu(scale * x, w)
    holds(latents, acts, (acts @ w["W_dec"] + w["b_dec"]) / scale, x)


def test_a_repository_in_saelens_format_without_an_entry(
    hub: HubCache, published: Callable[..., Subject]
) -> None:
    config = {"model_from_pretrained_kwargs": {"center_writing_weights": False}}
    hub_cache.sae_lens(hub, D_IN, "somebody/saes", "layer_1/wide", config)
    latents = saes.load_release(published("gpt2"), "somebody/saes", "layer_1/wide")
    assert latents.site == Site("resid_pre", 1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_float_types_of_subject_and_sae_may_differ(
    hub: HubCache, published: Callable[..., Subject], dtype: Any
) -> None:
    hub_cache.gemma_scope(hub, D_IN)
    source = "/".join(hub_cache.GEMMA)
    for subject, latents in (
        (float32 := published("gemma-2-2b"), saes.load(float32, source, dtype=dtype)),
        (other := published("gemma-2-2b", dtype=dtype), saes.load(other, source)),
    ):
        tokens = subject.to_tokens(["some text"])
        activation = subject.read(tokens, [latents.site])[latents.site]
        ids = torch.tensor([0, 3])
        acts = latents.encode(activation)
        written = latents.write(activation, ids, acts[..., ids] + 1)
        assert acts.dtype == latents.sae.dtype
        assert written.dtype == activation.dtype == subject.dtype
        assert not torch.equal(written, activation)


def test_what_fits_a_subject(published: Callable[..., Subject], tmp_path: Path) -> None:
    gemma = saes.releases(published("gemma-2-2b"))
    assert gemma == saes.releases("google/gemma-2-2b")
    assert "layer_20/width_16k/canonical" in gemma["gemma-scope-2b-pt-res-canonical"]
    assert not any("transcoder" in name or "9b" in name for name in gemma)
    assert "gpt2-small-res-jb" in saes.releases("openai-community/gpt2")
    assert saes.releases("world") == {}
    folder = tmp_path / "models--meta-llama--Llama-3.1-8B" / "snapshots" / COMMIT
    save_model("llama", folder)
    assert "llama_scope_lxr_8x" in saes.releases(interp.subject.load(folder, device="cpu"))
