import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from interp.bundled.world.corpus import WorldCorpus
from interp.corpus.batches import batches
from interp.document import split_of
from interp.errors import UserError
from interp.features.principal import principal_directions
from interp.subject import Site, Subject
from tests.corpora import ListCorpus

SITE = Site("resid_post", 1)


def counted(subject: Subject, corpus: WorldCorpus) -> np.ndarray:
    """All counted explain activations at once."""
    rows: list[torch.Tensor] = []
    for batch in batches(corpus, range(len(corpus)), subject.row_layout, 64, 1024):
        if batch.split == "explain":
            keep = torch.from_numpy(batch.counts)
            subject.visit(
                torch.from_numpy(batch.tokens), {SITE: lambda x, keep=keep: rows.append(x[keep].double())}
            )
    return torch.cat(rows).numpy()


def test_they_are_those_of_scikit_learn(subject: Subject) -> None:
    corpus = WorldCorpus(1, 80)
    found = principal_directions(subject, SITE, corpus, 12, context_size=64, tokens_per_batch=777)
    true = PCA(12, svd_solver="full").fit(counted(subject, corpus)).components_
    cosine = np.abs((found.vectors.double().numpy() * true).sum(1))
    np.testing.assert_allclose(cosine, 1, atol=1e-4)
    assert found.name == "directions.pca.resid_post.1" and found.n_features == 12
    largest = found.vectors.abs().argmax(1)
    assert (found.vectors[torch.arange(12), largest] > 0).all()
    again = principal_directions(subject, SITE, corpus, 12, context_size=64, tokens_per_batch=777)
    assert torch.equal(found.vectors, again.vectors)


def only_reported() -> ListCorpus:
    """Documents of the report split."""
    corpus = WorldCorpus(1, 30)
    documents = [corpus[index] for index in range(30)]
    return ListCorpus([one for one in documents if split_of(one.hash) == "report"])


def test_impossible_ones_are_an_error(subject: Subject) -> None:
    corpus = WorldCorpus(1, 4)
    with pytest.raises(UserError, match="129 principal directions"):
        principal_directions(subject, SITE, corpus, 129)
    with pytest.raises(UserError, match="cannot stand"):
        principal_directions(subject, Site("mlp_post", 1), corpus, 2)
    with pytest.raises(UserError, match="0 tokens of the split"):
        principal_directions(subject, SITE, only_reported(), 2)
