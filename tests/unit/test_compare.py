import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, rankdata

from interp.compare.concepts import Candidates, found, mean_difference, recover_concepts
from interp.compare.difference import compare_scores
from interp.descriptions.evidence import Window
from interp.descriptions.score import Measured, statistics
from interp.document import Document
from interp.errors import UserError
from interp.mining.exemplars import TokenSample, labels_at
from interp.statistics.auroc import auroc_interval, auroc_table, average_ranks
from tests.corpora import ListCorpus


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(3, 60))
def test_auroc_is_that_of_the_rank_sum_test(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 5, (n, 3)).astype(float)
    labels = rng.random((n, 2)) < 0.4
    np.testing.assert_allclose(average_ranks(torch.tensor(values)).numpy(), rankdata(values, axis=0))
    table = auroc_table(torch.tensor(values), torch.tensor(labels), columns_at_once=2)
    for feature in range(3):
        for label in range(2):
            chosen = labels[:, label]
            if chosen.all() or not chosen.any():
                assert torch.isnan(table[feature, label])
                continue
            u = mannwhitneyu(values[chosen, feature], values[~chosen, feature]).statistic
            assert float(table[feature, label]) == pytest.approx(u / (chosen.sum() * (~chosen).sum()))


def test_the_interval_covers_the_true_area() -> None:
    true = 0.7602  # of two unit normals one standard deviation apart: the normal cdf of 1 / sqrt(2)
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        label = np.arange(300) % 3 == 0
        _, low, high = auroc_interval(
            rng.normal(size=300) + label, label, np.arange(300, dtype=np.int64), draws=200, seed=seed
        )
        covered += low <= true <= high
    assert 88 <= covered <= 100


def planted(n_documents: int, seed: int) -> tuple[ListCorpus, TokenSample, TokenSample]:
    """Feature 3 fires on concept 1; the negative side of feature 5 on concept 0; the rest is noise."""
    rng = np.random.default_rng(seed)
    documents, values, where = [], [], []
    for index in range(n_documents):
        masks = rng.integers(0, 4, 8).astype(np.uint64)
        documents.append(Document(rng.integers(1, 50, 8).astype(np.int32), labels=masks))
        x = rng.normal(size=(8, 6))
        x[:, 3] += 4 * (masks >> np.uint64(1) & np.uint64(1))
        x[:, 5] -= 4 * (masks & np.uint64(1))
        values.append(x)
        where += [(index, position) for position in range(8)]
    corpus = ListCorpus(documents, label_names=("zero", "one"))
    table, place = torch.tensor(np.concatenate(values)).half(), torch.tensor(where)
    order = torch.randperm(len(place), generator=torch.Generator().manual_seed(seed))
    half = len(order) // 2
    parts = [TokenSample(table[o], place[o, 0], place[o, 1]) for o in (order[:half], order[half:])]
    return corpus, parts[0], parts[1]


def test_planted_features_are_recovered() -> None:
    corpus, select, report = planted(150, seed=0)
    for sample in (select, report):
        labels = labels_at(corpus, sample)
        for row in range(0, len(labels), 37):
            mask = corpus[int(sample.document[row])].labels
            assert mask is not None
            expected = [bool(int(mask[int(sample.position[row])]) >> bit & 1) for bit in range(2)]
            assert labels[row].tolist() == expected
    methods = {
        "both sides": Candidates({"a": select}, {"a": report}, signed=True),
        "one side": Candidates({"a": select}, {"a": report}, signed=False),
        "noise": Candidates(
            {"b": TokenSample(select.value[:, :3], select.document, select.position)},
            {"b": TokenSample(report.value[:, :3], report.document, report.position)},
            signed=True,
        ),
    }
    results = {(r.method, r.concept): r for r in recover_concepts(corpus, methods)}
    zero, one = results["both sides", "zero"], results["both sides", "one"]
    assert (zero.feature_id, zero.polarity) == (5, -1) and zero.auroc > 0.97
    assert (one.feature_id, one.polarity) == (3, 1) and one.low <= one.auroc <= one.high
    assert one.n_candidates == 12
    assert results["one side", "zero"].auroc < 0.7
    noise = results["noise", "one"]
    assert noise.selected_auroc >= 0.5 and abs(noise.auroc - 0.5) < 0.1
    everything = list(results.values())
    assert found(everything, "both sides", "noise", 0.9) == ["zero", "one"]
    assert found(everything, "one side", "noise", 0.9) == ["one"]
    value, low, high = mean_difference(everything, "both sides", "noise")
    assert low <= value <= high and value > 0.3


def test_a_corpus_without_labels_is_an_error() -> None:
    corpus = ListCorpus([Document(np.array([1, 2], dtype=np.int32))])
    sample = TokenSample(torch.zeros(1, 1).half(), torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(UserError, match="no concept labels"):
        labels_at(corpus, sample)


def population(noise: float, n: int, seed: int) -> list[Measured]:
    rng = np.random.default_rng(seed)

    def measured(windows: int) -> np.ndarray:
        truths = rng.normal(size=(windows, 12))
        guesses = truths + noise * rng.normal(size=truths.shape)
        made = [Window(np.arange(12), truth, i, np.ones(12, dtype=bool)) for i, truth in enumerate(truths)]
        return statistics(made, list(guesses))

    return [Measured(measured(8), measured(8)) for _ in range(n)]


def test_a_difference_is_seen_where_there_is_one_and_not_where_there_is_none() -> None:
    better, worse, same = population(0.3, 30, 1), population(2.0, 30, 2), population(0.3, 30, 3)
    scores = compare_scores(worse, better)
    assert scores.difference[1] > 0
    assert scores.difference[0] == pytest.approx(scores.second[0] - scores.first[0])
    assert scores.second[0] == pytest.approx(1 / np.sqrt(1 + 0.09), abs=0.02)
    none = compare_scores(same, better).difference
    assert none[1] < 0 < none[2]
