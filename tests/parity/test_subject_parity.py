"""Both backends against `transformers`, on every architecture `hooked` builds and on the bundled model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from interp import subject as subjects
from interp.bundled import bundled_models
from interp.subject import SITE_KINDS, Site, Subject
from tests.parity.subject_folders import HOOKED, save_model

MODELS = [*bundled_models(), *HOOKED]
TOLERANCE = 1e-4


class Bench:
    """One model: the reference, both subjects, and a batch with and without left padding."""

    def __init__(self, folder: Path) -> None:
        self.reference: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.folder = folder
        self.hooked = subjects.load(folder, "hooked", device="cpu")
        self.bridge = subjects.load(folder, "bridge", device="cpu")
        self.tokens = torch.randint(2, 260, (3, 20), generator=torch.Generator().manual_seed(1))
        self.mask = torch.ones_like(self.tokens)
        self.mask[1, :5] = 0
        self.mask[2, :11] = 0

    @torch.no_grad()
    def expected(self, padded: bool) -> Tensor:
        if not padded:
            return self.reference(self.tokens).logits.log_softmax(-1)
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)
        return self.reference(
            self.tokens, attention_mask=self.mask, position_ids=positions
        ).logits.log_softmax(-1)

    def sites(self) -> list[Site]:
        kinds = [kind for kind in SITE_KINDS if kind != "resid_mid" or not self.hooked.info.parallel]
        return [Site(kind, 0 if kind == "embed" else 1) for kind in kinds]


@pytest.fixture(scope="module", params=MODELS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    if request.param in bundled_models():
        return Bench(bundled_models()[request.param].folder)
    return Bench(save_model(request.param, tmp_path_factory.mktemp(request.param)))


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_log_probabilities_are_those_of_transformers(bench: Bench, backend: str) -> None:
    subject: Subject = getattr(bench, backend)
    assert float(bench.expected(padded=False).std()) > 0.5  # a flat distribution would prove nothing
    assert _distance(subject.logits(bench.tokens).log_softmax(-1), bench.expected(padded=False)) < TOLERANCE
    real = bench.mask.bool()
    padded = subject.logits(bench.tokens, bench.mask).log_softmax(-1)
    assert _distance(padded[real], bench.expected(padded=True)[real]) < TOLERANCE


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_logits_at_one_column_and_of_what_is_unembedded_are_those_of_all(bench: Bench, backend: str) -> None:
    subject: Subject = getattr(bench, backend)
    rows, columns = torch.arange(3), torch.tensor([19, 7, 12])
    for mask in (None, bench.mask):
        whole = subject.logits(bench.tokens, mask)
        assert _distance(subject.logits_at(bench.tokens, columns, mask), whole[rows, columns]) < TOLERANCE
        assert _distance(subject.unembed(subject.normed(bench.tokens, mask)), whole) < TOLERANCE


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_left_padding_shifts_no_position(bench: Bench, backend: str) -> None:
    subject: Subject = getattr(bench, backend)
    alone = subject.logits(bench.tokens[2:, 11:]).log_softmax(-1)
    padded = subject.logits(bench.tokens, bench.mask).log_softmax(-1)[2:, 11:]
    assert _distance(alone, padded) < TOLERANCE


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_weight_processing_is_an_option_that_keeps_log_probabilities(bench: Bench, backend: Any) -> None:
    folded = subjects.load(bench.folder, backend, device="cpu", processing="fold")
    assert _distance(folded.logits(bench.tokens).log_softmax(-1), bench.expected(padded=False)) < TOLERANCE
    plain: Subject = getattr(bench, backend)
    assert _distance(folded.unembedding(), plain.unembedding()) > 1e-3
    other = subjects.load(
        bench.folder, "bridge" if backend == "hooked" else "hooked", "cpu", processing="fold"
    )
    sites = [Site("mlp_post", 1), Site("resid_post", 1)]
    found = [subject.read(bench.tokens, sites) for subject in (folded, other)]
    for site in sites:
        assert _distance(found[0][site], found[1][site]) < TOLERANCE, site


def test_every_site_holds_the_same_on_both_backends(bench: Bench) -> None:
    sites, real = bench.sites(), bench.mask.bool()
    hooked = bench.hooked.read(bench.tokens, sites, bench.mask)
    bridge = bench.bridge.read(bench.tokens, sites, bench.mask)
    for site in sites:
        assert hooked[site].shape == bridge[site].shape
        assert hooked[site].shape[-1] == bench.hooked.site_width(site) == bench.bridge.site_width(site)
        assert _distance(hooked[site][real], bridge[site][real]) < TOLERANCE, site


def test_an_edit_at_any_site_has_the_same_effect_on_both_backends(bench: Bench) -> None:
    real = bench.mask.bool()
    plain = bench.expected(padded=True)[real]
    for site in bench.sites():
        step = torch.randn(bench.hooked.site_width(site), generator=torch.Generator().manual_seed(2))

        def edit(activation: Tensor, step: Tensor = step) -> Tensor:
            return 0.5 * activation + step

        effects = []
        for subject in (bench.hooked, bench.bridge):
            with subject.edited({site: edit}):
                effects.append(subject.logits(bench.tokens, bench.mask).log_softmax(-1)[real])
        assert _distance(effects[0], plain) > 0.1, site
        assert _distance(*effects) < TOLERANCE, site


def test_mlp_post_is_the_input_of_the_down_projection(bench: Bench) -> None:
    names = ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h")
    downs = [
        module
        for name, module in bench.reference.named_modules()
        if name.endswith(names) and ".1." in name  # the second layer
    ]
    assert len(downs) == 1
    seen: list[Tensor] = []
    handle = downs[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        bench.reference(bench.tokens)
    handle.remove()
    site = Site("mlp_post", 1)
    weight = downs[0].weight if downs[0].weight.shape[0] == bench.hooked.d_mlp else downs[0].weight.T
    for name, norm in bench.reference.named_modules():
        if name.endswith("1.post_feedforward_layernorm"):  # Gemma's, before it divides
            weight = weight * (1 + norm.weight)
    for subject in (bench.hooked, bench.bridge):
        assert _distance(subject.read(bench.tokens, [site])[site], seen[0]) < TOLERANCE
        assert _distance(subject.output_weight(site), weight) < 1e-5


def test_final_norm_and_unembedding_turn_the_last_residual_into_logits(bench: Bench) -> None:
    cap = getattr(bench.reference.config, "final_logit_softcapping", None)
    for subject in (bench.hooked, bench.bridge):
        last = Site("resid_post", subject.n_layers - 1)
        logits = subject.final_norm(subject.read(bench.tokens, [last])[last]) @ subject.unembedding()
        if cap:
            logits = cap * torch.tanh(logits / cap)
        assert _distance(logits.log_softmax(-1), bench.expected(padded=False)) < TOLERANCE


def test_greedy_generation_is_that_of_transformers(bench: Bench) -> None:
    prompt = bench.tokens[:1, :10]
    written = bench.reference.generate(prompt, max_new_tokens=12, do_sample=False)
    reference = written[0, 10:].tolist()
    end = bench.hooked.tokenizer.eos_token_id
    expected = reference[: reference.index(end)] if end in reference else reference
    likely = bench.reference(written).logits[0, 9:-1].log_softmax(-1).gather(-1, written[0, 10:, None])[:, 0]
    for subject in (bench.hooked, bench.bridge):
        found = subject.generate(prompt, max_new_tokens=12)
        assert found == subject.decode(expected) and list(found.tokens) == expected
        assert _distance(torch.tensor(found.log_probs), likely[: len(expected)]) < TOLERANCE


def test_edits_reach_generation_with_a_cache(bench: Bench) -> None:
    """A hook that forces one neuron's direction must act on every generated token, not only on the prompt."""
    prompt = bench.tokens[:1, :10]
    for subject in (bench.hooked, bench.bridge):
        lengths: list[int] = []

        def watch(activation: Tensor, lengths: list[int] = lengths) -> Tensor:
            lengths.append(activation.shape[1])
            return activation * 1.0

        with subject.edited({Site("resid_post", 1): watch}):
            subject.generate(prompt, max_new_tokens=4)
        assert lengths[0] == 10
        assert lengths[1:] == [1] * (len(lengths) - 1)
