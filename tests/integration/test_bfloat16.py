"""What is measured in bfloat16 is what is measured in float32, up to its two or three digits: on `world`."""

from pathlib import Path

import numpy as np
import pytest
import torch

import interp
import saes
from interp import WorldCorpus
from interp.features.neurons import MlpNeurons
from interp.mining.config import MiningConfig
from interp.monitor.bench import Bench
from interp.monitor.conversation import Conversation
from interp.monitor.knowledge import Knowledge
from interp.monitor.session import Session, State
from interp.subject import Site, Subject
from saes.config import SaeTraining

TEXT = "the capital of france , as we know , is"
Both = tuple[Subject, Subject]


@pytest.fixture(scope="module")
def both() -> Both:
    wide, half = (interp.load("world", dtype=dtype, device="cpu") for dtype in ("float32", "bfloat16"))
    return wide, half


def neurons_of(subject: Subject) -> list[MlpNeurons]:
    return [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]


def test_mining(both: Both) -> None:
    corpus, config = WorldCorpus(seed=1, n_documents=150), MiningConfig(context_size=64)
    wide, half = (
        interp.mine(subject, [MlpNeurons(subject, 5)], corpus, config)["mlp.5"].exemplars["explain"]
        for subject in both
    )
    assert wide.n_tokens == half.n_tokens
    assert float((wide.mean - half.mean).abs().max() / wide.mean.abs().max()) < 0.01
    assert float((wide.rate - half.rate).abs().max()) < 0.02
    assert (
        float((wide.quantile_values - half.quantile_values).abs().max() / wide.quantile_values.abs().max())
        < 0.02
    )
    off = (wide.top_value - half.top_value).abs() / wide.top_value.clamp(min=0.05)
    assert float(off.max()) < 0.1 and float(off.quantile(0.99)) < 0.04
    rows = zip(wide.top_document.tolist(), half.top_document.tolist(), strict=True)
    assert np.mean([len({*one} & {*two}) / len(one) for one, two in rows]) > 0.95


def test_attribution(both: Both) -> None:
    wide, half = (
        interp.attribute(subject, TEXT, target="paris", spaces=neurons_of(subject)) for subject in both
    )
    assert float(half.target_value) == pytest.approx(float(wide.target_value), rel=0.01)
    flat = [torch.cat([one.float().flatten() for one in found.values.values()]) for found in (wide, half)]
    assert float(torch.cosine_similarity(*flat, dim=0)) > 0.998
    tops = [
        {*zip(table["space"], table["feature"], table["position"], strict=True)}
        for table in (found.top(20) for found in (wide, half))
    ]
    assert len(tops[0] & tops[1]) >= 16


def test_the_monitor(both: Both) -> None:
    rankings = []
    for subject in both:
        said = Conversation().written(subject.encode(f"{TEXT} paris"))
        session = Session(
            Bench(subject, Knowledge(subject.name), neurons_of(subject)), State(conversation=said)
        )
        ranking = session.why(len(said.tokens(subject)) - 1)
        assert len(session.table(ranking)) == 50
        rankings.append(ranking)
    wide, half = rankings
    assert half.target_value == pytest.approx(wide.target_value, rel=0.01)
    assert half.share == pytest.approx(wide.share, abs=0.01)
    first = [{one.key for one in ranking.features[:20]} for ranking in rankings]
    assert len(first[0] & first[1]) >= 16


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_sae_training(both: Both, weights: str, tmp_path: Path) -> None:
    """A subject in bfloat16, the dictionary's weights in either type, against both in float32."""
    explained = []
    for subject, dtype in zip(both, ("float32", weights), strict=True):
        config = SaeTraining(n_latents=256, training_tokens=30 * 1024, dtype=dtype, buffer_tokens=16_384)
        logged: dict[str, float] = {}
        trained = saes.train(
            subject, Site("resid_post", 4), WorldCorpus(seed=2, n_documents=400), config,
            tmp_path / f"{subject.dtype}", log=lambda values, tokens, kept=logged: kept.update(values),
        )  # fmt: skip
        assert trained.encode(torch.randn(3, subject.d_model).to(subject.dtype)).isfinite().all()
        explained.append(logged["sae/explained_variance"])
    assert explained[1] == pytest.approx(explained[0], abs=0.02) and explained[0] > 0.6
