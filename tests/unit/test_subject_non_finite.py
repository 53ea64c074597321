"""Numbers that overflow are said where they begin, whatever asks for them; what only looks like it is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import interp
from interp import subject as subjects
from interp.attribution import integrated_gradients
from interp.attribution.target import Target
from interp.errors import UserError
from interp.subject import Site, Subject
from tests.parity.subject_folders import save_model

TOKENS = torch.randint(2, 200, (2, 6), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(TOKENS)
MASK[0, :2] = 0
BROKEN = 1  # the layer whose MLP writes numbers that half precision cannot hold


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model("llama", tmp_path_factory.mktemp("large"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.layers[BROKEN].mlp.down_proj.weight.data *= 1e6
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["hooked", "bridge"])
def half(folder: Path, request: pytest.FixtureRequest) -> Subject:
    return subjects.load(folder, request.param, device="cpu", dtype="float16", check=False)


ASKS: dict[str, Callable[[Subject], Any]] = {
    "run": lambda s: s.run("the cat"),
    "logits": lambda s: s.logits(TOKENS, MASK),
    "generate": lambda s: s.generate("the cat", 2),
    "read": lambda s: s.read(TOKENS, [Site("resid_post", 2)], MASK),
    "read in the layer": lambda s: s.read(TOKENS, [Site("mlp_out", BROKEN)]),
    "attribute": lambda s: interp.attribute(s, TOKENS, 7, [interp.MlpNeurons(s, 0)]),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=list(ASKS))
def test_an_overflow_is_said_where_transformers_has_it(
    half: Subject, folder: Path, ask: Callable[[Subject], Any]
) -> None:
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16)
    states = reference(TOKENS, output_hidden_states=True).hidden_states
    assert [bool(state.isfinite().all()) for state in states].index(False) == BROKEN + 1
    with pytest.raises(UserError, match=rf"mlp_out\.{BROKEN} on are not finite in float16") as found:
        ask(half)
    assert "bfloat16" in str(found.value)


def test_what_comes_before_an_overflow_is_read(half: Subject) -> None:
    assert bool(half.read(TOKENS, [Site("resid_mid", BROKEN)])[Site("resid_mid", BROKEN)].isfinite().all())


def test_wider_numbers_do(folder: Path) -> None:
    assert bool(subjects.load(folder, device="cpu", dtype="bfloat16").logits(TOKENS).isfinite().all())


def test_padding_and_tokens_that_never_come_are_no_overflow(folder: Path) -> None:
    subject = subjects.load(folder, "hooked", device="cpu")
    plain = subject.logits(TOKENS, MASK)
    with subject.edited({Site("resid_post", 2): lambda a: a.masked_fill(~MASK.bool()[..., None], torch.nan)}):
        assert torch.equal(subject.logits(TOKENS, MASK)[MASK.bool()], plain[MASK.bool()])
    subject.model.unembed.b_U.data[7] = -torch.inf
    assert bool((subject.logits(TOKENS)[..., 7] == -torch.inf).all())


@pytest.mark.parametrize("steps", [0, 2])
def test_gradients_that_overflow_are_said(folder: Path, steps: int) -> None:
    subject = subjects.load(folder, "bridge", device="cpu")
    neurons, target = interp.MlpNeurons(subject, 0), Target.of(subject, 7)

    def steep(activation: torch.Tensor) -> torch.Tensor:  # zero, with a slope that no number holds
        still = activation - activation.detach()
        return activation + 1e30 * (1e30 * still)

    with (
        subject.edited({Site("resid_post", 2): steep}),
        pytest.raises(UserError, match=r"gradients at mlp(_post)?\.0 are not finite in float32"),
    ):
        if steps:
            integrated_gradients(subject, TOKENS, None, target, [neurons], steps=steps)
        else:
            interp.attribute(subject, TOKENS, target, [neurons])
