"""Real neurons of the bundled model: described on explain text, better than chance on report text."""

import json

import numpy as np
import pytest
import torch

from interp.bundled.world.corpus import WorldCorpus
from interp.descriptions import (
    Description,
    Evidence,
    FeatureRef,
    Window,
    describe_features,
    score_descriptions,
)
from interp.descriptions.reader import WindowPasses
from interp.document import split_of
from interp.features.neurons import MlpNeurons
from interp.subject import Subject

LAYERS = (1, 4, 7)
NEURONS = (3, 57, 200, 311)
K = 10


@pytest.fixture(scope="module")
def features(subject: Subject) -> list[FeatureRef]:
    spaces = [MlpNeurons(subject, layer) for layer in LAYERS]
    return [FeatureRef(space, n, 1 - 2 * (n % 2)) for space in spaces for n in NEURONS]


@pytest.fixture(scope="module")
def windows(subject: Subject, features: list[FeatureRef]) -> dict[str, list[list[Window]]]:
    """Every document's window for each feature, by split."""
    corpus = WorldCorpus(seed=5, n_documents=500)
    found: dict[str, list[list[Window]]] = {
        split: [[] for _ in features] for split in ("explain", "select", "report")
    }
    sites = sorted({feature.space.site for feature in features})
    for index in range(len(corpus)):
        document = corpus[index]
        tokens = document.tokens[: subject.n_ctx - 1].astype(np.int64)
        read = subject.read(torch.tensor([[subject.bos_id, *tokens.tolist()]]), sites)
        for place, feature in enumerate(features):
            column = feature.space.encode(read[feature.space.site])[0, 1:, feature.feature_id]
            values = feature.polarity * column.numpy()
            everywhere = np.ones(len(tokens), dtype=bool)
            found[split_of(document.hash)][place].append(Window(tokens, values, index, everywhere))
    return found


def strongest(found: list[Window]) -> list[Window]:
    return sorted(found, key=lambda w: (-w.values.max(), w.document))[:K]


@pytest.fixture(scope="module")
def evidence(windows: dict[str, list[list[Window]]]) -> list[Evidence]:
    return [Evidence(strongest(found), random=found[:60]) for found in windows["explain"]]


@pytest.fixture(scope="module")
def described(subject: Subject, features: list[FeatureRef], evidence: list[Evidence]) -> list[Description]:
    spent = WindowPasses()
    found = describe_features(subject, features, evidence, spent=spent)
    assert spent.passes / len(features) <= 80
    return found


def test_descriptions_beat_other_features_descriptions_on_report_text(
    described: list[Description], windows: dict[str, list[list[Window]]]
) -> None:
    report = windows["report"]
    scores = score_descriptions(
        described,
        [strongest(found) for found in report],
        [found[:60] for found in report],
    )
    both = np.array([score.both.value for score in scores])
    null = np.array([score.both.null_mean for score in scores])
    assert np.isfinite(both).all()
    assert both.mean() > 0.5
    assert abs(null.mean()) < 0.1
    assert np.mean([score.both.value > score.both.null_high for score in scores]) >= 0.8
    assert np.mean([score.random.value for score in scores]) > 0.2
    assert np.mean([score.detection for score in scores]) > 0.7


def test_sentences_quote_tokens_of_the_evidence(subject: Subject, described: list[Description]) -> None:
    known = {subject.decode([token]).strip() for token in range(subject.d_vocab)}
    for one in described:
        quoted = [part.text for part in one.parts if part.kind == "tokens"]
        assert quoted
        for text in quoted:
            assert set(text.replace(" … ", " ").split()) <= known, one.text
        assert one.text.startswith("fires on ")
        assert len(one.text) < 400


def test_the_same_features_get_the_same_bytes(
    subject: Subject, features: list[FeatureRef], evidence: list[Evidence]
) -> None:
    first, second = (
        [json.dumps(d.to_json()) for d in describe_features(subject, features[:4], evidence[:4])]
        for _ in range(2)
    )
    assert first == second
