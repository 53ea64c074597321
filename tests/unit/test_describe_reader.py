"""Answers from a subject equal reading each row by itself, with one BOS, in the feature's polarity."""

import numpy as np
import pytest
import torch

from interp.descriptions import FeatureRef
from interp.descriptions.query import Query
from interp.descriptions.reader import FeatureReader, SubjectProposals
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
    assert SubjectProposals(subject)([]) == []


def test_proposals_are_expected_and_similar_tokens(subject: Subject) -> None:
    row = subject.to_tokens("the capital of france is", prepend_bos=False)[0].numpy()
    (table,) = SubjectProposals(subject)([row])
    assert table.shape == (5, 12)
    logits = subject.logits(torch.tensor([[subject.bos_id, *row.tolist()]]))[0]
    logits[:, [subject.bos_id, *subject.special_ids]] = -torch.inf
    for place in range(5):
        assert logits[place].topk(6).indices.tolist() == table[place, ::2].tolist()
    countries = {"spain", "italy", "germany", "japan", "china", "poland", "england", "russia", "brazil"}
    assert countries & {subject.decode([int(token)]).strip() for token in table[3]}
    assert subject.bos_id not in table
