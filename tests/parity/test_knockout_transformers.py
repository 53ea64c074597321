"""Attention knockout against `transformers`, whose softmax is given the scores without what is blocked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from interp import subject as subjects
from interp.errors import UserError
from interp.lenses.knockout import Knockout
from interp.lenses.prompt_batches import PromptBatch
from interp.subject import Subject
from tests.parity.subject_folders import CONFIGS, built, save_model

TOKENS = torch.randint(2, 200, (2, 8), generator=torch.Generator().manual_seed(1))
ROWS = PromptBatch([0, 1], TOKENS, torch.ones_like(TOKENS), torch.tensor([7, 7]))
LAYERS = (1, 2)
KNOCKOUT = Knockout(((-1, -2), (-3,)), ((-3,), (-5, -4)), LAYERS)
BLOCKED = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
BLOCKED[0, 0, 6:, 5] = BLOCKED[1, 0, 5, 3:5] = True


@contextmanager
def softmax_without(blocked: Tensor, layers: tuple[int, ...]) -> Iterator[None]:
    """Within the block the n-th softmax over queries and keys, that of layer n, sees lowered scores."""
    own, seen = torch.softmax, iter(range(1000))

    def softmax(scores: Tensor, dim: int, dtype: torch.dtype | None = None, **_: object) -> Tensor:
        if scores.ndim == 4 and next(seen) in layers:
            sinks = scores.shape[-1] - blocked.shape[-1]  # GPT-OSS has a column of them
            scores = scores.masked_fill(torch.nn.functional.pad(blocked, (0, sinks)), -1e30)
        return own(scores, dim, dtype=dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "softmax", softmax)
        patch.setattr(torch, "softmax", softmax)
        yield


@torch.no_grad()
def reference(folder: Path, blocked: Tensor | None) -> Tensor:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    if blocked is None:
        return model(TOKENS).logits.log_softmax(-1)
    with softmax_without(blocked, LAYERS):
        logits = model(TOKENS).logits
    return logits.log_softmax(-1)


def knocked_out(subject: Subject, knockout: Knockout) -> Tensor:
    with knockout.on(subject, ROWS):
        return subject.logits(TOKENS).log_softmax(-1)


@pytest.mark.parametrize("pair", built(CONFIGS))
def test_what_is_blocked_is_gone_as_in_transformers(pair: tuple[str, str], tmp_path: Path) -> None:
    name, backend = pair
    folder = save_model(name, tmp_path)
    subject = subjects.load(folder, backend, device="cpu")
    expected, plain = reference(folder, BLOCKED), reference(folder, None)
    assert float((expected - plain).abs().max()) > 0.01
    assert float((knocked_out(subject, KNOCKOUT) - expected).abs().max()) < 1e-4
    assert float((subject.logits(TOKENS).log_softmax(-1) - plain).abs().max()) < 1e-4


@pytest.mark.parametrize("name", ["gemma2", "gpt-neo", "gpt-oss", "mistral"])
def test_a_window_whose_keys_are_all_blocked_is_refused(name: str, tmp_path: Path) -> None:
    subject = subjects.load(save_model(name, tmp_path), "bridge", device="cpu")
    everything_near = Knockout(((-1,), ()), (tuple(range(-5, 0)), ()), (0, 1, 2))
    with pytest.raises(UserError, match="position -1 would be left with nothing to attend to"):
        knocked_out(subject, everything_near)
