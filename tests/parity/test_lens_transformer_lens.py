"""Lenses against TransformerLens' own cache helpers and the model's logits, on every architecture."""

import math
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from interp import subject as subjects
from interp.lenses.direct_attribution import direct_attribution
from interp.lenses.logit_lens import LogitLens
from interp.lenses.prompt import Prompt
from interp.lenses.view import lens
from interp.subject import Site, Subject
from interp.subject.frozen_norm import FrozenNorm
from tests.parity.subject_folders import HOOKED, save_model

IDS = tuple(range(10, 30))
BACKENDS = ("hooked", "bridge")
MODELS = ("world", *HOOKED)
NORMS_AFTER = ("gemma2", "gemma3")  # the outputs of whose heads pass a norm before they are added
ADDED_AS_WRITTEN = [name for name in MODELS if name not in NORMS_AFTER]


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path | str:
    if request.param == "world":
        return "world"
    return save_model(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=BACKENDS)
def subject(folder: Path | str, request: pytest.FixtureRequest) -> Subject:
    return subjects.load(folder, request.param, device="cpu")


def tokens_of(subject: Subject) -> Tensor:
    return subject.pad([IDS])[0]


def closest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def test_what_a_lens_reads_at_the_last_layer_is_the_output(subject: Subject) -> None:
    tokens = tokens_of(subject)
    last = Site("resid_post", subject.n_layers - 1)
    read = subject.read(tokens, [last])[last]
    assert closest(LogitLens(subject).logits(read, last), subject.logits(tokens).float()) < 1e-5
    view = lens(subject, IDS, [7])
    assert float(view.kl[-1].abs().max()) < 1e-4
    expected = subject.logits(tokens)[0].float()
    likeliest = expected.gather(1, view.top[-1, :, :1])[:, 0]  # of equals either may be named
    assert torch.allclose(likeliest, expected.amax(-1))
    assert torch.equal(view.rank[-1, :, 0], (expected > expected[:, 7:8]).sum(-1).int())


def test_direct_attributions_add_up_to_the_logit(subject: Subject) -> None:
    prompts = [Prompt(IDS), Prompt(IDS[:9], -3)]
    for distractors in (None, [5, 6]):
        found = direct_attribution(subject, prompts, [7, 8], distractors)
        assert abs(found.total() - found.logit).max() < 1e-3
    assert found.heads is not None and found.neurons is not None
    if "GPT" not in subject.info.architecture:  # those have biases beside heads and neurons
        assert abs(found.heads.sum(2) - found.attention).max() < 1e-3
        assert abs(found.neurons.sum(2) - found.mlp).max() < 1e-3
    logits = subject.logits(tokens_of(subject))[0, -1]
    alone = float(direct_attribution(subject, prompts[:1], [7]).logit[0])
    if "Gemma2" in subject.info.architecture:  # whose soft cap comes after what is attributed
        alone = 3 * math.tanh(alone / 3)
    assert abs(alone - float(logits[7])) < 1e-3


def test_a_frozen_norm_is_the_norm(subject: Subject) -> None:
    norm = FrozenNorm.of(subject.final_norm, subject.d_model, subject.device, subject.dtype)
    generator = torch.Generator().manual_seed(0)
    resid = 3 * torch.randn(5, subject.d_model, generator=generator) + 1
    directions = torch.randn(5, subject.d_model, generator=generator)
    through = (norm.pulled_back(directions) * resid).sum(-1) / norm.scale(resid) + directions @ norm.bias
    normed = subject.final_norm(resid[None])[0]
    assert torch.allclose(through, (normed * directions).sum(-1), atol=1e-3)


def test_the_lens_is_that_of_transformer_lens(folder: Path | str) -> None:
    subject = subjects.load(folder, "hooked", device="cpu")
    tokens = tokens_of(subject)
    _, cache = subject.model.run_with_cache(tokens)
    stacked, _ = cache.accumulated_resid(incl_mid=False, return_labels=True, apply_ln=False)
    view = lens(subject, IDS, k=4)
    for row in range(
        subject.n_layers + 1
    ):  # theirs begins with the first layer's input and ends with the output
        logits = subject.model.ln_final(stacked[row]) @ subject.model.W_U + subject.model.b_U
        cap = subject.model.cfg.output_logits_soft_cap
        logits = cap * torch.tanh(logits / cap) if cap > 0 else logits
        expected: Float[Tensor, "pos d_vocab"] = logits[0].softmax(-1)
        best = expected.topk(4)
        assert torch.allclose(view.top_probability[row], best.values, atol=1e-5)
        entropy = torch.distributions.Categorical(probs=expected).entropy()
        assert torch.allclose(view.entropy[row], entropy, atol=1e-3)


@pytest.mark.parametrize("folder", ADDED_AS_WRITTEN, indirect=True)
def test_parts_are_those_of_transformer_lens(folder: Path | str) -> None:
    # theirs leaves the norm's own weight out: it has to be folded into what follows
    subject = subjects.load(folder, "hooked", device="cpu", processing="fold")
    _, cache = subject.model.run_with_cache(tokens_of(subject))
    found = direct_attribution(subject, [Prompt(IDS)], [7])
    assert found.heads is not None and found.neurons is not None

    def theirs(parts: Tensor) -> Tensor:
        return cache.logit_attrs(parts, tokens=7, pos_slice=-1).flatten()

    cache.compute_head_results()
    heads = theirs(cache.stack_head_results(layer=-1, pos_slice=-1))
    assert torch.allclose(torch.from_numpy(found.heads[0]).float().flatten(), heads, atol=1e-3)
    neurons = theirs(cache.stack_neuron_results(layer=-1, pos_slice=-1))
    assert torch.allclose(torch.from_numpy(found.neurons[0]).float().flatten(), neurons, atol=1e-3)
    layers = theirs(cache.decompose_resid(layer=-1, mode="mlp", pos_slice=-1, incl_embeds=False))
    assert torch.allclose(torch.from_numpy(found.mlp[0]).float(), layers[-subject.n_layers :], atol=1e-3)
