"""The linearised pass: its values are the model's, it is linear, and its gradients are those of numpy."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from interp import subject as subjects
from interp.errors import UserError
from interp.subject import Site, Subject
from interp.subject.linearised import Rule
from tests.parity.subject_folders import built, save_model
from tests.unit.test_subject_hooks import hooks_left

TOKENS = torch.randint(2, 260, (1, 7), generator=torch.Generator().manual_seed(1))
STREAM = Site("resid_pre", 0)
KINDS = ["gpt-neox", "gemma3", "gptj", "opt", "bloom", "mixtral"]
"""Norms of all kinds, also after matrices; parallel layers; a softmax without a hook point; experts."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    parent = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        found = parent / name
        return found if found.exists() else save_model(name, found)

    return folder


@pytest.fixture(scope="module", params=built(KINDS))
def subject(request: pytest.FixtureRequest, folders: Callable[[str], Path]) -> Subject:
    name, backend = request.param
    return subjects.load(folders(name), backend, device="cpu")


def rules(subject: Subject, *of: Rule) -> dict[int, Rule]:
    found: dict[int, Rule] = {}
    for layer in range(subject.n_layers):
        with suppress(UserError):
            subject.site_width(Site("mlp_post", layer))
            found[layer] = of[layer % len(of)]
    return found


def kept(subject: Subject, sites: list[Site]) -> dict[Site, Tensor]:
    return {site: found.clone() for site, found in subject.read(TOKENS, sites).items()}


def test_values_stay_and_the_pass_is_linear(subject: Subject) -> None:
    neurons = rules(subject, "half", "gate")
    experts = [Site("mlp_out", layer) for layer in range(subject.n_layers) if layer not in neurons]
    found = kept(subject, [STREAM, *experts])
    plain = subject.normed(TOKENS)
    before = hooks_left(subject)

    def at(stream: Tensor) -> Tensor:
        edits = {site: (lambda a, s=site: found[s].expand_as(a)) for site in experts}
        with subject.edited({STREAM: lambda a: stream.expand_as(a), **edits}):
            return subject.normed(TOKENS)

    draw = torch.Generator().manual_seed(3)
    one, two = (3 * torch.randn(found[STREAM].shape, generator=draw) for _ in range(2))
    start = found[STREAM]
    with subject.linearised(TOKENS, mlps=neurons):
        torch.testing.assert_close(subject.normed(TOKENS), plain, atol=2e-5, rtol=1e-4)
        here = at(start)
        torch.testing.assert_close(here, plain, atol=2e-5, rtol=1e-4)
        moved = at(start + one) - here
        both = at(start + one + 2 * two) - here
        assert float((both - moved - 2 * (at(start + two) - here)).abs().max()) < 1e-4 * float(
            both.abs().max()
        )
    assert hooks_left(subject) == before
    curved = at(start + one + 2 * two) - plain
    assert float((curved - both).abs().max()) > 0.1 * float(both.abs().max()), "the model is linear anyway"


def test_copies_of_the_prompt_and_no_other_tokens(subject: Subject) -> None:
    with subject.linearised(TOKENS):
        many = subject.normed(TOKENS.expand(3, -1))
        torch.testing.assert_close(many, subject.normed(TOKENS).expand(3, -1, -1), atol=2e-5, rtol=1e-4)
        with pytest.raises(UserError, match="not those, or copies of those"):
            subject.normed(TOKENS[:, :5])


def test_an_edit_of_the_stream_reaches_the_held_norm(subject: Subject) -> None:
    site = Site("resid_mid", 1)
    if subject.info.parallel or not subject.adds_up:
        return
    push = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(5))
    with subject.linearised(TOKENS, attention=False):
        plain = subject.read(TOKENS, [Site("mlp_out", 1)])[Site("mlp_out", 1)].clone()
        with subject.edited({site: lambda a: a + push}):
            found = subject.read(TOKENS, [Site("mlp_out", 1)])[Site("mlp_out", 1)]
        assert float((found - plain).abs().max()) > 1e-2


def test_it_says_what_it_cannot_do(folders: Callable[[str], Path]) -> None:
    subject = subjects.load(folders("mixtral"), "bridge", device="cpu")
    before = hooks_left(subject)
    with pytest.raises(UserError, match="mlp_post"), subject.linearised(TOKENS, mlps={0: "half"}):
        pass
    assert hooks_left(subject) == before


class Llama:
    """The linear map of a Llama on one prompt, in numpy: scales, patterns and gates from `transformers`."""

    def __init__(self, folder: Path, rule: Rule) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float64
        )
        self.rule = rule
        self.inputs: dict[str, np.ndarray[Any, Any]] = {}
        for name, module in self.model.named_modules():
            module.register_forward_hook(lambda m, i, o, name=name: self._keep(name, i, o))
        with torch.no_grad():
            found = self.model(TOKENS, output_attentions=True)
        self.patterns = [pattern[0].numpy() for pattern in found.attentions]
        self.weights = {name: weight.numpy() for name, weight in self.model.state_dict().items()}

    def _keep(self, name: str, inputs: Any, output: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            self.inputs[name] = inputs[0][0].detach().numpy()
            self.inputs[f"{name}.out"] = output[0].detach().numpy()

    def norm(self, x: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
        scale = np.sqrt((self.inputs[name] ** 2).mean(-1, keepdims=True) + self.model.config.rms_norm_eps)
        normed: np.ndarray[Any, Any] = x * self.weights[f"{name}.weight"] / scale
        return normed

    def through(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What a change of the embeddings [pos, d_model] changes at the final norm's output."""
        config = self.model.config
        d_head, shared = config.head_dim, config.num_attention_heads // config.num_key_value_heads
        for layer in range(config.num_hidden_layers):
            place = f"model.layers.{layer}"
            normed = self.norm(x, f"{place}.input_layernorm")
            values = normed @ self.weights[f"{place}.self_attn.v_proj.weight"].T
            heads = [
                self.patterns[layer][head]
                @ values[:, head // shared * d_head : (head // shared + 1) * d_head]
                for head in range(config.num_attention_heads)
            ]
            x = x + np.concatenate(heads, 1) @ self.weights[f"{place}.self_attn.o_proj.weight"].T
            normed = self.norm(x, f"{place}.post_attention_layernorm")
            gate, up = (self.inputs[f"{place}.mlp.{part}_proj.out"] for part in ("gate", "up"))
            sigmoid = 1 / (1 + np.exp(-gate))
            d_gate, d_up = (
                normed @ self.weights[f"{place}.mlp.{part}_proj.weight"].T for part in ("gate", "up")
            )
            if self.rule == "half":
                neurons = sigmoid * up * d_gate / 2 + sigmoid * gate * d_up / 2
            else:
                neurons = sigmoid * gate * d_up
            x = x + neurons @ self.weights[f"{place}.mlp.down_proj.weight"].T
        return self.norm(x, "model.norm")


@pytest.fixture(scope="module", params=["hooked", "bridge"])
def llama(request: pytest.FixtureRequest, folders: Callable[[str], Path]) -> Iterator[Subject]:
    yield subjects.load(folders("llama"), request.param, device="cpu")


@pytest.mark.parametrize("rule", ["half", "gate"])
def test_gradients_are_those_of_the_map_written_down(
    llama: Subject, rule: Rule, folders: Callable[[str], Path]
) -> None:
    by_hand = Llama(folders("llama"), rule)
    draw = np.random.default_rng(0)
    change = draw.normal(size=(TOKENS.shape[1], llama.d_model))
    direction = draw.normal(size=llama.d_model)
    right = by_hand.through(change)[-1] @ direction
    start = kept(llama, [STREAM])[STREAM].requires_grad_()
    with llama.linearised(TOKENS, mlps=rules(llama, rule)), torch.enable_grad():
        with llama.edited({STREAM: lambda a: start.expand_as(a)}):
            normed = llama.normed(TOKENS)
        (gradient,) = torch.autograd.grad(normed[0, -1] @ torch.tensor(direction).float(), start)
    found = float((gradient[0].double() * torch.tensor(change)).sum())
    assert abs(found - right) < 1e-4 * abs(right)
    # with a norm's or the attention's own gradient it would be another number
    with torch.enable_grad(), llama.edited({STREAM: lambda a: start.expand_as(a)}):
        normed = llama.normed(TOKENS)
    (gradient,) = torch.autograd.grad(normed[0, -1] @ torch.tensor(direction).float(), start)
    assert abs(float((gradient[0].double() * torch.tensor(change)).sum()) - right) > 1e-2 * abs(right)
