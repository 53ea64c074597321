"""A model without a BOS: its first position is an attention sink, and counts nowhere."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from interp import subject as subjects
from interp.descriptions.query import Query
from interp.descriptions.reader import FeatureReader
from interp.document import Document, split_of
from interp.features.neurons import MlpNeurons
from interp.features.principal import principal_directions
from interp.features.ref import FeatureRef
from interp.mining.config import MiningConfig
from interp.mining.mined import mine
from interp.subject import Site, Subject
from interp.subject.load import SubjectConfig
from saes.stream import SubjectActivations
from tests.corpora import ListCorpus
from tests.parity.subject_folders import save_model

CONTEXT, SINK = 16, 1000.0
SITE = Site("resid_post", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("qwen3", tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def corpus() -> ListCorpus:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 40, 60)
    documents = [rng.integers(2, 250, length).astype(np.int32) for length in lengths]
    return ListCorpus([Document(tokens) for tokens in documents])


@pytest.fixture
def subject(folder: Path) -> Iterator[Subject]:
    """A Qwen-like model whose first position has a huge norm from layer 1 on."""
    loaded = subjects.load(folder, device="cpu")

    def plant(activation: Tensor) -> Tensor:
        planted = activation.clone()
        planted[:, 0] += SINK
        return planted

    with loaded.edited({Site("resid_post", 0): plant}):
        yield loaded


def without_first(subject: Subject, corpus: ListCorpus, site: Site) -> np.ndarray:
    """The activations of every row of the explain split, one by one, without its first position."""
    found = []
    for document in corpus.documents:
        if split_of(document.hash) == "explain":
            for start in range(0, len(document.tokens), CONTEXT):
                row = torch.from_numpy(document.tokens[start : start + CONTEXT].astype(np.int64))[None]
                found.append(subject.read(row, [site])[site][0, 1:].numpy())
    return np.concatenate(found)


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    return rows[np.argsort(rows[:, 0])]


def test_it_is_on_where_there_is_no_bos_and_can_be_chosen(folder: Path, tmp_path: Path) -> None:
    assert subjects.load(folder).row_layout.skip_first
    assert not subjects.load(folder, skip_first=False).row_layout.skip_first
    assert not subjects.load(save_model("llama", tmp_path)).row_layout.skip_first
    config = SubjectConfig(name=str(folder), skip_first=False)
    assert not subjects.load(**config.model_dump()).row_layout.skip_first


def test_means_and_exemplars_are_those_of_the_other_positions(subject: Subject, corpus: ListCorpus) -> None:
    space = MlpNeurons(subject, 1)
    config = MiningConfig(context_size=CONTEXT, tokens_per_batch=64, sampled_tokens=4000)
    found = mine(subject, [space], corpus, config)[space.name].exemplars["explain"]
    expected = without_first(subject, corpus, space.site)
    assert found.n_tokens == len(expected)
    np.testing.assert_allclose(found.mean.numpy(), expected.mean(0), atol=1e-4)
    for neuron in range(5):
        peak = expected[:, neuron].max()
        assert next(found.windows(neuron, 1)).value == pytest.approx(peak, abs=1e-3)


def test_principal_directions_are_those_of_the_other_positions(subject: Subject, corpus: ListCorpus) -> None:
    found = principal_directions(subject, SITE, corpus, 3, context_size=CONTEXT, tokens_per_batch=64)
    expected = without_first(subject, corpus, SITE)
    _, _, axes = np.linalg.svd(expected - expected.mean(0), full_matrices=False)
    ours = found.decoder(torch.arange(3)).numpy()
    np.testing.assert_allclose(np.abs((ours * axes[:3]).sum(1)), 1.0, atol=1e-4)


def test_dictionaries_are_trained_on_the_other_positions(subject: Subject, corpus: ListCorpus) -> None:
    expected = without_first(subject, corpus, SITE)
    source = SubjectActivations(
        subject,
        [SITE],
        corpus,
        seed=0,
        context_size=CONTEXT,
        buffer_tokens=len(expected),
        tokens_per_batch=64,
    )
    found, following = source.buffers(0)
    assert following <= len(corpus)  # one epoch holds as many as were counted
    np.testing.assert_allclose(sorted_rows(found[SITE].numpy()), sorted_rows(expected), atol=1e-3)


def test_a_description_is_not_made_of_the_sink(subject: Subject) -> None:
    space = MlpNeurons(subject, 1)
    reader = FeatureReader(subject, [FeatureRef(space, 3, 1), FeatureRef(space, 4, -1)])
    rows = [np.array([20]), np.array([35, 20]), np.array([7, 35, 20])]
    found = reader([Query(feature, row) for row in rows for feature in (0, 1)]).reshape(3, 2)
    expected = [subject.read(torch.from_numpy(row)[None], [space.site])[space.site][0, -1] for row in rows]
    assert found[0].tolist() == [0, 0] and bool((expected[0][3:5].abs() > 1e-3).all())
    for answers, activation in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(answers, [activation[3], -activation[4]], atol=1e-4)
