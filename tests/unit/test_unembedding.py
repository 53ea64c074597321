"""Logits a block of positions at a time: the figures are those of torch over the logits of `transformers`."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div
from transformers import AutoModelForCausalLM

import interp
from interp.intervene import AddVector
from interp.subject import Site, Subject
from interp.subject.losses import compared_losses, likeliest_tokens, token_losses
from interp.subject.unembedding import in_blocks
from tests.parity.subject_folders import D_VOCAB, save_model

ROWS = 5  # of a block; 3 x 11 positions are six whole ones and a rest


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.subject.unembedding.LOGITS_AT_ONCE", ROWS * D_VOCAB + 1)


@pytest.fixture(scope="module", params=[("llama", "hooked"), ("gemma2", "hooked"), ("gpt2", "bridge")])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Path]:
    name, backend = request.param
    folder = save_model(name, tmp_path_factory.mktemp(name))
    return interp.load(folder, backend, device="cpu"), folder


def test_losses_and_divergences_are_torch_s_own(case: tuple[Subject, Path]) -> None:
    subject, folder = case
    tokens = torch.randint(2, D_VOCAB, (3, 12), generator=torch.Generator().manual_seed(0))
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(tokens).logits[:, :-1].double()
    following = tokens[:, 1:]
    normed = subject.normed(tokens)[:, :-1]
    expected = cross_entropy(logits.transpose(1, 2), following, reduction="none")
    assert torch.allclose(token_losses(subject, normed, following).double(), expected, atol=1e-4)
    assert torch.equal(likeliest_tokens(subject, normed.flatten(0, 1)), logits.argmax(-1).flatten())
    vector = 5 * torch.randn(subject.d_model, generator=torch.Generator().manual_seed(1))
    with subject.intervene(AddVector(subject, Site("resid_post", 1), vector)):
        moved, changed = subject.logits(tokens)[:, :-1].double(), subject.normed(tokens)[:, :-1]
    losses, divergences = compared_losses(subject, normed, [normed, changed], following)
    p, q = logits.log_softmax(-1), moved.log_softmax(-1)
    kl = kl_div(q, p, reduction="none", log_target=True).sum(-1)
    assert float(kl.mean()) > 0.1
    assert torch.allclose(divergences[1].double(), kl, atol=1e-4)
    assert float(divergences[0].abs().max()) < 1e-6
    changed_losses = cross_entropy(moved.transpose(1, 2), following, reduction="none")
    assert torch.allclose(losses[2].double(), changed_losses, atol=1e-4)
    assert torch.allclose(losses[0].double(), expected, atol=1e-4)


def test_a_block_holds_few_rows_and_no_rows_have_a_shape(case: tuple[Subject, Path]) -> None:
    subject, _ = case
    sizes = []

    def measure(rows: torch.Tensor, names: list[str]) -> tuple[torch.Tensor]:
        assert len(names) == len(rows)
        sizes.append(len(rows))
        return (rows.sum(1),)

    rows = torch.arange(26.0).view(13, 2)
    (sums,) = in_blocks(measure, D_VOCAB, rows, [str(n) for n in range(13)])
    assert sizes == [5, 5, 3] and torch.equal(sums, rows.sum(1))
    assert token_losses(subject, torch.zeros(2, 0, subject.d_model), torch.zeros(2, 0).long()).shape == (2, 0)


def test_a_run_keeps_the_logits_that_were_asked_for(case: tuple[Subject, Path]) -> None:
    subject, _ = case
    spaces = [interp.MlpNeurons(subject, layer) for layer in (0, 1)]
    texts = ["as it is", "and padded"]
    everything = subject.run(texts, spaces)
    last, none = (subject.run(texts, spaces, logits=kept) for kept in ("last", "none"))
    assert torch.allclose(last.logits, everything.logits[:, -1:], atol=1e-5)
    assert none.logits.shape == (2, 0, D_VOCAB)
    for space in spaces:
        for found in (last, none):
            assert torch.equal(found.features[space.name], everything.features[space.name])
