"""Gemma 3 270M in fewer bits and from the disk: what is read stays near, and is of earlier text alone."""

from pydoc_data.topics import topics

import pytest
import torch
from torch import Tensor

import interp
from interp.bundled.gemma import GEMMA
from interp.subject import Site, Subject

TEXT = topics["assignment"]
MOST = {"8bit": 0.02, "4bit": 1.0}
"""The largest KL of the next token, in nats: about three times what is measured."""


@pytest.fixture(scope="module")
def tokens(gemma: Subject) -> Tensor:
    return gemma.pad([gemma.encode(TEXT)[:96]])[0]


@pytest.fixture(scope="module", params=MOST)
def packed(request: pytest.FixtureRequest, gemma: Subject) -> Subject:
    return interp.load(gemma.info.name, device="cpu", dtype="auto", quantize=request.param)


def test_predictions_stay_near(packed: Subject, gemma: Subject, tokens: Tensor) -> None:
    assert packed.dtype == torch.bfloat16 and packed.gap is not None and packed.gap.holds
    with torch.no_grad():
        p, q = (one.logits(tokens).float().log_softmax(-1) for one in (gemma, packed))
    kl = float((p.exp() * (p - q)).sum(-1).mean())
    assert 0 < kl < MOST[str(packed.quantize)]


def test_a_token_is_read_without_the_tokens_after_it(packed: Subject, tokens: Tensor) -> None:
    """Activations of some channels are above 6 here, which LLM.int8 treats apart in the whole batch."""
    site = Site("resid_post", packed.n_layers - 1)
    whole, part = (packed.read(one, [site])[site].float() for one in (tokens, tokens[:, :40]))
    error = (whole[0, :40] - part[0]).norm(dim=-1) / part[0].norm(dim=-1)
    assert float(error.max()) < 0.05  # products of other lengths are rounded otherwise in bfloat16


def test_layers_on_the_disk_change_nothing(gemma: Subject, tokens: Tensor) -> None:
    layers = {f"model.layers.{at}": "disk" for at in range(3, 18, 5)}
    placed = interp.load(GEMMA, device_map={"": "cpu"} | layers)
    with torch.no_grad():
        assert torch.equal(placed.normed(tokens), gemma.normed(tokens))
