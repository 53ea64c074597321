"""Answers from a subject equal reading each row by itself, with one BOS, in the feature's polarity."""

import numpy as np
import pytest
import torch

from interp.descriptions import FeatureRef
from interp.descriptions.first_order import SubjectSlopes
from interp.descriptions.query import Query
from interp.descriptions.reader import FeatureReader, NearestTokens, WindowPasses
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.subject import Site, Subject


@pytest.fixture(scope="module")
def features(subject: Subject) -> list[FeatureRef]:
    early, late = MlpNeurons(subject, 1), MlpNeurons(subject, 6)
    residual = random_directions(subject, Site("resid_post", 3), 5, seed=0)
    return [FeatureRef(early, 7), FeatureRef(early, 9, -1), FeatureRef(late, 3, -1), FeatureRef(residual, 4)]


@pytest.fixture(scope="module")
def queries(subject: Subject) -> list[Query]:
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, subject.d_vocab, size=rng.integers(1, 30)) for _ in range(40)]
    rows += [*rows[:10], rng.integers(1, subject.d_vocab, size=subject.n_ctx + 20)]
    return [Query(i % 4, row) for i, row in enumerate(rows)]


@pytest.mark.parametrize("tokens_per_batch", [1, 64, 100_000])
def test_answers_equal_single_rows(
    subject: Subject, features: list[FeatureRef], queries: list[Query], tokens_per_batch: int
) -> None:
    answers = FeatureReader(subject, features, tokens_per_batch)(queries)
    for query, answer in zip(queries, answers, strict=True):
        feature = features[query.feature]
        kept = query.tokens[-(subject.n_ctx - 1) :]
        row = torch.tensor([[subject.bos_id, *kept.tolist()]])
        activation = subject.read(row, [feature.space.site])[feature.space.site]
        expected = feature.polarity * feature.space.encode(activation)[0, -1, feature.feature_id].item()
        assert answer == pytest.approx(expected, abs=2e-4)


def test_nothing_is_run_twice_nor_deeper_than_needed(
    subject: Subject, features: list[FeatureRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[int, int]] = []
    visit = subject.visit

    def watched(tokens: torch.Tensor, visitors: dict, attention_mask: object = None) -> None:
        runs.append((len(tokens), max(site.layer for site in visitors)))
        visit(tokens, visitors, None)

    monkeypatch.setattr(subject, "visit", watched)
    shared, deep = np.array([5, 6, 7]), np.array([8, 9, 10])
    FeatureReader(subject, features)([Query(0, shared), Query(1, shared), Query(0, shared), Query(2, deep)])
    assert sorted(runs) == [(1, 1), (1, 6)]


def test_no_queries_no_answers(subject: Subject, features: list[FeatureRef]) -> None:
    assert FeatureReader(subject, features)([]).shape == (0,)


def test_proposals_are_similar_tokens(subject: Subject) -> None:
    tokens = subject.to_tokens("capital france", prepend_bos=False)[0].numpy()
    table = NearestTokens(subject)(tokens)
    assert table.shape == (2, 12)
    centred = subject.unembedding() - subject.unembedding().mean(1, keepdim=True)
    cosine = torch.cosine_similarity(centred[:, tokens[1], None], centred, dim=0)
    cosine[[subject.bos_id, *subject.special_ids, int(tokens[1])]] = -torch.inf
    assert cosine.topk(12).indices.tolist() == table[1].tolist()
    countries = {"spain", "italy", "germany", "japan", "china", "poland", "england", "russia", "brazil"}
    assert countries & {subject.decode([int(token)]).strip() for token in table[1]}


@pytest.mark.parametrize("tokens_per_batch", [24, 100_000])
def test_shared_tokens_are_run_once_and_answers_stay(
    subject: Subject, features: list[FeatureRef], tokens_per_batch: int
) -> None:
    row = np.arange(20, 30)
    queries = []
    for place in (0, 4, 9):
        for token in (50, 60, 70):
            changed = row.copy()
            changed[place] = token
            queries += [Query(feature, changed, place) for feature in range(4)]
    spent, whole = WindowPasses(), WindowPasses()
    answers = FeatureReader(subject, features, tokens_per_batch, spent)(queries)
    alone = FeatureReader(subject, features, spent=whole)([Query(q.feature, q.tokens) for q in queries])
    np.testing.assert_allclose(answers, alone, atol=2e-4)
    assert whole.passes == 9 and whole.tokens == 99
    if tokens_per_batch > 24:
        assert spent.tokens == 3 * (10 + 6 + 1) + 1 + 5 + 10
        assert spent.passes == pytest.approx(spent.tokens / 11)


def test_under_an_intervention_whole_rows_are_run(subject: Subject, features: list[FeatureRef]) -> None:
    queries = [Query(0, np.array([20, 21, token]), 2) for token in (30, 31)]
    spent = WindowPasses()
    with subject.edited({Site("resid_pre", 0): lambda activation: activation * 2}):
        answers = FeatureReader(subject, features, spent=spent)(queries)
        whole = FeatureReader(subject, features)([Query(0, query.tokens) for query in queries])
    assert answers.tolist() == whole.tolist()
    assert spent.passes == 2


def test_slopes_are_gradients_along_differences_of_embeddings(
    subject: Subject, features: list[FeatureRef]
) -> None:
    row, others = np.array([20, 35, 7, 91]), np.array([40, 41])
    spent = WindowPasses()
    slopes = SubjectSlopes(subject, features, spent=spent)
    found = slopes([Query(feature, row) for feature in range(4)])
    slopes.know(others)
    assert spent.passes == 8
    tokens = torch.tensor([[subject.bos_id, *row.tolist()]])
    embedded = subject.model.W_E
    for slope, feature in zip(found, features, strict=True):
        assert slope is not None
        leaf = embedded[tokens].clone().requires_grad_()
        with torch.enable_grad(), subject.edited({Site("resid_pre", 0): lambda _, leaf=leaf: leaf}):
            kept: list[torch.Tensor] = []
            with subject.edited({feature.space.site: kept.append}):
                subject.logits(tokens)
        value = feature.polarity * feature.space.encode(kept[0])[0, -1, feature.feature_id]
        (gradient,) = torch.autograd.grad(value, leaf)
        for place in range(4):
            expected = (embedded[others] - embedded[row[place]]) @ gradient[0, 1 + place]
            np.testing.assert_allclose(slope.change(place, others), expected.numpy(), atol=1e-4)
