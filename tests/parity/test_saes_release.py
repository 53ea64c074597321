"""Published SAEs against SAELens on HookedTransformer, and what weight processing does to activations."""

from pathlib import Path

import pytest
import torch
from sae_lens import HookedSAETransformer
from transformer_lens import HookedTransformer
from transformers import AutoModelForCausalLM

import interp.subject
import saes
from interp.subject import Site, Subject
from interp.subject.site import SITE_KINDS
from saes.trained_on import processing_matters, site_of_hook
from tests.parity.subject_folders import save_model
from tests.unit import hub_cache
from tests.unit.hub_cache import HubCache

TEXT = ["some text to read", "and a second one"]
pytestmark = pytest.mark.filterwarnings("ignore::saes.trained_on.UnknownTraining")


def with_saes(model: HookedTransformer) -> HookedSAETransformer:
    """SAELens' model with the weights of an ordinary one."""
    copy = HookedSAETransformer(model.cfg)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
@pytest.mark.parametrize("name", ["gemma-2-2b", "Llama-3.1-8B"])
def test_latents_and_logits_are_saelens(
    name: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = HubCache(tmp_path / "hub", monkeypatch)
    folder = save_model("gemma2" if name == "gemma-2-2b" else "llama", tmp_path / name)
    if name == "gemma-2-2b":
        hub_cache.gemma_scope(cache, 32)
        source = hub_cache.GEMMA
    else:
        hub_cache.llama_scope(cache, 32, norm=32**0.5 / 39.76699029126213, threshold=0.01)
        source = hub_cache.LLAMA
    subject = interp.subject.load(folder, backend=backend, device="cpu")
    latents = saes.load_release(subject, *source)
    model = with_saes(interp.subject.load(folder, backend="hooked", device="cpu").model)
    tokens = subject.to_tokens(TEXT[:1])
    with torch.no_grad():
        logits, seen = model.run_with_cache_with_saes(tokens, saes=[latents.sae], use_error_term=False)
        kept, _ = model.run_with_cache_with_saes(tokens, saes=[latents.sae], use_error_term=True)
    site = latents.site
    ours = latents.encode(subject.read(tokens, [site])[site])
    theirs = seen[f"{site.hook_name}.hook_sae_acts_post"]
    assert (theirs > 0).any()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(subject.logits(tokens), kept, rtol=1e-3, atol=1e-3)
    with subject.edited({site: latents.reconstruct}):
        torch.testing.assert_close(subject.logits(tokens), logits, rtol=1e-3, atol=1e-3)


def activations(subject: Subject) -> dict[Site, torch.Tensor]:
    tokens = subject.to_tokens(TEXT[0])
    kinds = [kind for kind in SITE_KINDS if kind != "resid_mid" or not subject.info.parallel]
    sites = [Site(kind, 0 if kind == "embed" else 1) for kind in kinds]
    return subject.read(tokens, sites)


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
@pytest.mark.parametrize("name", ["gpt2", "gpt-neox", "gemma2", "llama", "qwen3"])
def test_processing_matters_where_it_changes_activations(name: str, backend: str, tmp_path: Path) -> None:
    folder = save_model(name, tmp_path / name)
    plain = interp.subject.load(folder, backend=backend, device="cpu")
    folded = interp.subject.load(folder, backend=backend, device="cpu", processing="fold")
    others = activations(folded)
    for site, activation in activations(plain).items():
        same = torch.allclose(activation, others[site], rtol=1e-3, atol=1e-3)
        if not processing_matters(plain, site):
            assert same, site
        elif name in ("gpt2", "gpt-neox"):
            assert not same, site


def test_gpt2_needs_only_centring_in_the_residual_stream_to_be_folded(tmp_path: Path) -> None:
    """SAELens' `center_writing_weights` alone gives the activations that `fold` gives at these sites."""
    folder = save_model("gpt2", tmp_path / "gpt2")
    plain = interp.subject.load(folder, device="cpu").model
    centred = HookedTransformer(plain.cfg)
    state = {name: value.clone() for name, value in plain.state_dict().items()}
    centred.load_and_process_state_dict(
        state, fold_ln=False, center_writing_weights=True, center_unembed=False, fold_value_biases=False
    )
    folded = interp.subject.load(folder, device="cpu", processing="fold")
    tokens = folded.to_tokens(TEXT[:1])
    for kind in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"):
        site = Site(kind, 1)
        with torch.no_grad():
            _, cache = centred.run_with_cache(tokens)
        torch.testing.assert_close(
            cache[site.hook_name], folded.read(tokens, [site])[site], rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_a_bridges_own_hook_names_are_the_same_sites(name: str, tmp_path: Path) -> None:
    subject = interp.subject.load(save_model(name, tmp_path / name), backend="bridge", device="cpu")
    tokens = subject.to_tokens(TEXT[:1])
    for hook in ("embed.hook_out", "blocks.1.hook_in", "blocks.1.hook_out", "blocks.1.attn.o.hook_in",
                 "blocks.1.mlp.out.hook_in"):  # fmt: skip
        site = site_of_hook(hook)
        assert site is not None
        with torch.no_grad():
            _, cache = subject.model.run_with_cache(tokens)
        torch.testing.assert_close(cache[hook].flatten(2), subject.read(tokens, [site])[site].flatten(2))
    assert site_of_hook("blocks.1.mlp.hook_out") is None


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_gemmas_mlp_out_is_behind_the_norm_as_in_gemma_scope(backend: str, tmp_path: Path) -> None:
    """Gemma Scope's MLP SAEs read what is added to the residual stream, after the second norm."""
    folder = save_model("gemma2", tmp_path / "gemma2")
    subject = interp.subject.load(folder, backend=backend, device="cpu")
    tokens, seen = subject.to_tokens(TEXT[:1]), []
    reference = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    layer = reference.model.layers[1]
    layer.post_feedforward_layernorm.register_forward_hook(lambda *call: seen.append(call[2].detach()))
    reference(tokens)
    site = Site("mlp_out", 1)
    torch.testing.assert_close(subject.read(tokens, [site])[site], seen[0], rtol=1e-3, atol=1e-4)
