"""Answers of several tokens as targets: gradients and exact effects against `transformers` and autograd."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

import interp
from interp.attribution import (
    Chosen,
    Target,
    ablation_effects,
    activation_patching,
    attribution_patching,
    integrated_gradients,
)
from interp.bundled import bundled_models
from interp.intervene import Replace
from interp.subject import Site, Subject
from tests.subjects import pydoc_subject

PROMPTS = ["the function will", "if the object is not found , this method will"]
WORDS = ["return an object", "raise"]
LAYER = 2


@pytest.fixture(scope="module")
def reference() -> Any:
    return AutoModelForCausalLM.from_pretrained(bundled_models()["pydoc"].folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module", params=["hooked", "bridge"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return pydoc_subject(request.param)


def ids(subject: Subject, row: int) -> tuple[list[int], list[int]]:
    """A prompt's tokens and its answer's, by the tokenizer itself."""
    tokenizer = subject.tokenizer
    prompt, whole = (
        tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (PROMPTS[row], f"{PROMPTS[row]} {WORDS[row]}")
    )
    begins = [] if subject.bos_id is None else [subject.bos_id]
    return begins + prompt, whole[len(prompt) :]


def log_prob(reference: Any, prompt: list[int], answer: list[int], edit: Any = None) -> tuple[Tensor, Tensor]:
    """The answer's log-probability and the neurons' activations, perhaps edited, by `transformers`."""
    seen: list[Tensor] = []

    def change(module: Any, args: Any) -> Any:
        seen.append(args[0] if edit is None else edit(args[0]))
        return (seen[0],)

    hook = reference.model.layers[LAYER].mlp.down_proj.register_forward_pre_hook(change)
    try:
        logits = reference(torch.tensor([prompt + answer[:-1]])).logits[0, len(prompt) - 1 :]
    finally:
        hook.remove()
    return logits.log_softmax(-1)[torch.arange(len(answer)), answer].sum(), seen[0]


def test_gradients_by_every_token_of_prompt_and_answer(subject: Subject, reference: Any) -> None:
    neurons = interp.MlpNeurons(subject, LAYER)
    found = interp.attribute(subject, PROMPTS, WORDS, [neurons])
    assert found.target.kind == "log_prob" and found.target.several
    for row in range(len(PROMPTS)):
        prompt, answer = ids(subject, row)
        value, activation = log_prob(reference, prompt, answer, lambda x: x.detach().requires_grad_())
        (gradient,) = torch.autograd.grad(value, activation)
        expected = (gradient * activation).detach()[0]
        columns = found.mask[row].bool()
        assert found.tokens[row, columns].tolist() == prompt + answer[:-1]
        torch.testing.assert_close(found.values[neurons.name][row, columns], expected, atol=1e-4, rtol=1e-3)
        assert float(found.target_value[row]) == pytest.approx(float(value), abs=1e-3)
        if len(answer) > 1:
            assert float(expected[len(prompt) :].abs().max()) > 1e-3  # what the answer's own tokens add


def test_exact_effects_of_ablation(subject: Subject, reference: Any) -> None:
    neurons = interp.MlpNeurons(subject, LAYER)
    tokens, mask = subject.to_batch(PROMPTS)
    target = interp.attribute(subject, PROMPTS, WORDS, [neurons]).target
    chosen = [Chosen(neurons, 3), Chosen(neurons, 7, -1)]
    effects = ablation_effects(subject, tokens, mask, target, chosen)
    for row in range(len(PROMPTS)):
        prompt, answer = ids(subject, row)
        clean = log_prob(reference, prompt, answer)[0]
        for number, one in enumerate(chosen):

            def silenced(x: Tensor, one: Chosen = one, end: int = len(prompt)) -> Tensor:
                x = x.clone()
                x[:, slice(None) if one.position is None else slice(end - 1, end), one.feature_id] = 0
                return x

            expected = clean - log_prob(reference, prompt, answer, silenced)[0]
            assert float(effects[number, row]) == pytest.approx(float(expected), abs=1e-4)


def test_integrated_gradients_add_up(subject: Subject, reference: Any) -> None:
    neurons = interp.MlpNeurons(subject, LAYER)
    tokens, mask = subject.to_batch(PROMPTS)
    answers = tuple(tuple(ids(subject, row)[1]) for row in range(len(PROMPTS)))
    found = integrated_gradients(subject, tokens, mask, Target("log_prob", answers), [neurons], steps=40)
    for row in range(len(PROMPTS)):
        prompt, answer = ids(subject, row)
        clean, silent = (
            log_prob(reference, prompt, answer, edit)[0] for edit in (None, lambda x: torch.zeros_like(x))
        )
        total = float(found.values[neurons.name][row].sum())
        assert total == pytest.approx(float(clean - silent), rel=0.02, abs=0.02)


def test_patches_of_a_prompt_reach_the_whole_answer(subject: Subject) -> None:
    site, other = Site("resid_post", 1), "the object will"
    target = interp.attribute(subject, PROMPTS[0], WORDS[0], [interp.MlpNeurons(subject, 0)]).target
    clean, corrupted = subject.to_tokens(PROMPTS[0]), subject.to_tokens(other)
    assert clean.shape == corrupted.shape
    found = activation_patching(subject, clean, corrupted, target, sites=[site])
    estimate = attribution_patching(subject, clean, corrupted, target, sites=[site])
    assert found.sites[site].shape == estimate.sites[site].shape == clean.shape
    source = subject.read(clean, [site])[site]
    base = subject.score(other, [WORDS[0]])
    for column in range(clean.shape[1]):
        with subject.intervene(Replace(subject, site, source, column)):
            patched = subject.score(other, [WORDS[0]])
        effect = float(patched.total - base.total)
        assert float(found.sites[site][0, column]) == pytest.approx(effect, abs=1e-4)
