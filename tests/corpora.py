"""Small corpora that several tests use."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interp.document import Document


@dataclass
class ListCorpus:
    """Documents from a list."""

    documents: list[Document]
    name: str = "list"
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: int) -> Document:
        return self.documents[index]


def random_corpus(n_documents: int, seed: int, longest: int = 40, vocabulary: int = 60) -> ListCorpus:
    """Random tokens; every fifth document is one that came before, and every third has template tokens."""
    random = np.random.default_rng(seed)
    documents: list[Document] = []
    for index in range(n_documents):
        if index % 5 == 4:
            documents.append(documents[int(random.integers(index))])
            continue
        tokens = random.integers(1, vocabulary, int(random.integers(1, longest))).astype(np.int32)
        template = random.random(len(tokens)) < 0.2 if index % 3 == 0 else None
        documents.append(Document(tokens, template))
    return ListCorpus(documents)


class Noise:
    """Activations to train an SAE on that mean nothing."""

    width = 128

    def buffer(self, cursor: int) -> tuple[Tensor, int]:
        return torch.randn(300, 128, generator=torch.Generator().manual_seed(cursor)), cursor + 1
