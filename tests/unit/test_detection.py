"""The best detector by AUROC and F1: against scikit-learn, brute force and planted concepts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.bundled.world.corpus import WorldCorpus
from interp.compare.detection import detect, measurable
from interp.compare.f1 import best_f1_table, f1_interval
from interp.compare.labelled import Labelled, pooled, read_labelled
from interp.compare.probe import train_probes
from interp.document import split_of
from interp.features.neurons import MlpNeurons
from interp.statistics.estimate import ratio_interval
from interp.subject import Site
from tests.subjects import world_subject


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.integers(2, 25))
def test_best_f1_is_that_of_all_thresholds(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    values = torch.tensor(rng.integers(0, 5, (n, 4)).astype(float))
    labels = torch.tensor(rng.random((n, 2)) < 0.4)
    best, threshold = best_f1_table(values, labels, columns_at_once=3)
    for feature in range(4):
        for label in range(2):
            truth = labels[:, label].numpy()
            if not truth.any():
                assert torch.isnan(best[feature, label])
                continue
            x = values[:, feature].numpy()
            brute = max(f1_score(truth, x >= cut) for cut in np.unique(x))
            assert float(best[feature, label]) == pytest.approx(brute)
            assert f1_score(truth, x >= float(threshold[feature, label])) == pytest.approx(brute)


def test_the_f1_interval_is_around_scikit_learns_value_and_wider_for_whole_documents() -> None:
    rng = np.random.default_rng(0)
    document = np.repeat(np.arange(60), 10)
    label = np.repeat(rng.random(60) < 0.3, 10)
    predicted = label ^ np.repeat(rng.random(60) < 0.15, 10)
    value, low, high = f1_interval(predicted, label, document, 500, 0)
    assert value == pytest.approx(f1_score(label, predicted)) and low < value < high
    _, alone_low, alone_high = f1_interval(predicted, label, np.arange(600), 500, 0)
    assert high - low > 1.8 * (alone_high - alone_low)
    assert np.isnan(f1_interval(predicted, np.zeros(600, dtype=bool), document, 10, 0)).all()


def test_the_interval_of_a_ratio_covers_it() -> None:
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        chance = rng.beta(2, 6, 80)  # of mean 0.25: documents differ
        values = (rng.random((80, 5)) < chance[:, None]).astype(float).ravel()
        _, low, high = ratio_interval(values, np.ones(400), np.repeat(np.arange(80), 5), 200, seed)
        covered += low <= 0.25 <= high
    assert covered >= 88
    assert np.isnan(ratio_interval(np.zeros(0), np.zeros(0), np.zeros(0, dtype=int), 9, 0)).all()


def planted(n: int, seed: int) -> Labelled:
    """Feature 2 of space a fires on concept 1, the negative side of feature 1 of b on concept 0."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, 2)) < 0.2
    a, b = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
    a[:, 2] = np.maximum(0, 5 * labels[:, 1] + rng.normal(size=n) - 1)
    b[:, 1] -= 4 * labels[:, 0]
    positive = {"a": torch.tensor(a).half(), "b": torch.tensor(b).half()}
    return Labelled(positive, {"b": -positive["b"]}, torch.tensor(labels), torch.arange(n) // 4)


def test_planted_detectors_are_found_and_measured_on_other_text() -> None:
    select, report = planted(800, 0), planted(800, 1)
    assert measurable(select, report, 10).tolist() == [True, True]
    assert measurable(select, report, 790).tolist() == [False, False]
    for measure in ("auroc", "f1"):
        zero, one = detect("both", ["a", "b"], select, report, {0: "zero", 1: "one"}, measure)
        assert (zero.space, zero.feature_id, zero.polarity) == ("b", 1, -1)
        assert (one.space, one.feature_id, one.polarity) == ("a", 2, 1)
        assert one.low <= one.value <= one.high and one.value > 0.9
        assert one.n_candidates == 3 + 2 + 2
        assert one.positives + one.negatives == 800
    truth = report.labels[:, 1].numpy()
    on = (report.positive["a"][:, 2] >= one.threshold).numpy()
    assert one.value == pytest.approx(f1_score(truth, on))
    noise = detect("noise", ["a"], select, report, {0: "zero"}, "auroc")[0]
    assert noise.selected > 0.5 and abs(noise.value - 0.5) < 0.1


def test_documents_are_the_largest_of_their_tokens() -> None:
    values = torch.tensor([[1.0, -3.0], [2.0, -1.0], [0.0, -5.0], [-1.0, -2.0]])
    document = torch.tensor([7, 3, 7, 3])
    assert pooled(values, document).tolist() == [[2.0, -1.0], [1.0, -3.0]]


def test_what_is_read_is_what_the_subject_does() -> None:
    subject = world_subject()
    corpus = WorldCorpus(1, 60)
    neurons = MlpNeurons(subject, 2)
    found = read_labelled(subject, corpus, "report", Site("resid_post", 2), [neurons], 150, 40, 64, seed=3)
    assert len(found.sample) == 40 and len(found.activations) == len(found.labels) == len(found.document)
    for place, index in enumerate(found.documents.document.tolist()):
        document = corpus[index]
        assert split_of(document.hash) == "report"
        row = torch.tensor([[subject.bos_id, *document.tokens.tolist()]])
        out = subject.run(row, read=[neurons]).features["mlp.2"][0, 1:]
        kept = ~np.isin(document.tokens, list(subject.special_ids))
        if document.template is not None:
            kept &= ~document.template
        inside = out[torch.from_numpy(kept)]
        largest, smallest = (found.documents.side("mlp.2", side)[place].float() for side in (1, -1))
        torch.testing.assert_close(largest, inside.max(0).values, atol=2e-2, rtol=2e-3)
        torch.testing.assert_close(smallest, -inside.min(0).values, atol=2e-2, rtol=2e-3)
        assert document.labels is not None
        union = int(np.bitwise_or.reduce(document.labels[kept]))
        assert found.documents.labels[place].tolist() == [
            bool(union >> bit & 1) for bit in range(len(corpus.label_names))
        ]
    scored = found.with_scores("x", found.activations[:, :1])
    assert torch.equal(scored.tokens.positive["x"], found.activations[found.sample][:, :1])


def test_probes_are_scikit_learns_with_the_best_c() -> None:
    rng = np.random.default_rng(0)
    direction = rng.normal(size=8)

    def drawn(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = rng.normal(size=(n, 8)) * np.arange(1, 9) + 3
        label = (x - 3) @ direction + 4 * rng.normal(size=n) > 2
        return torch.tensor(x).float(), torch.tensor(label)[:, None]

    explain, select = drawn(400), drawn(300)
    probes = train_probes(explain, select, strengths=(1e-4, 0.1))
    c = probes.strength[0]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300))
    model.fit(explain[0].numpy(), explain[1][:, 0].numpy())
    np.testing.assert_allclose(
        probes.scores(select[0])[:, 0].numpy(),
        model.decision_function(select[0].numpy()),
        rtol=0.02,
        atol=0.02,
    )
