"""The world's corpus: labelled documents, each a pure function of the seed and its index."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random

import numpy as np
from jaxtyping import Int, UInt64
from numpy.typing import NDArray

from interp.corpus.document import Document
from interp.organism.concepts import CONCEPTS, definitions
from interp.organism.draft import Draft
from interp.organism.families import agreement, chat, knowledge, numbers, sentences, tasks
from interp.organism.labelling import labels_of

Family = Callable[[Random, Draft], None]

# Shares of the tokens, not of the documents.
FAMILIES: dict[str, tuple[Family, float]] = {
    "fact": (knowledge.fact, 0.10),
    "table": (knowledge.table, 0.13),
    "description": (knowledge.description, 0.08),
    "identity": (knowledge.identity, 0.05),
    "two_hop": (knowledge.two_hop, 0.09),
    "in_context": (tasks.in_context, 0.13),
    "list": (tasks.copy_list, 0.04),
    "chat": (chat.chat, 0.08),
    "agreement": (agreement.agreement, 0.03),
    "numbers": (numbers.numbers, 0.17),
    "topic": (sentences.topic, 0.03),
    "translation": (sentences.translation, 0.09),
}
_SIXTY_FOUR_BITS = 0xFFFFFFFFFFFFFFFF
_DOCUMENTS_FOR_MEAN_LENGTH = 400


@dataclass(frozen=True)
class WorldDocument(Document):
    """A document of the world, with the tokens that what precedes them determines (`answers` [pos])."""

    answers: NDArray[np.bool_] | None = None
    family: str = ""


class WorldCorpus:
    """Documents of the world in random access (the `Corpus` protocol), labelled with `CONCEPTS`."""

    def __init__(self, seed: int, n_documents: int) -> None:
        """A corpus of `n_documents`; those of a smaller corpus with the same seed come first."""
        if n_documents < 0:
            raise ValueError(f"n_documents must not be negative: {n_documents}")
        self.seed = seed
        self.n_documents = n_documents

    @property
    def name(self) -> str:
        """The name, with all that decides the content."""
        return f"world(seed={self.seed}, n_documents={self.n_documents})"

    @property
    def label_names(self) -> tuple[str, ...]:
        """The concepts, in the order of their bits."""
        return CONCEPTS

    @property
    def definitions(self) -> dict[str, str]:
        """What each concept's label marks, in words."""
        return definitions()

    def labels_of(self, tokens: Int[np.ndarray, " token"]) -> UInt64[np.ndarray, " token"]:
        """The labels that the words of any text carry wherever they stand."""
        return labels_of(tokens.tolist())

    def __len__(self) -> int:
        """How many documents there are."""
        return self.n_documents

    def __getitem__(self, index: int) -> WorldDocument:
        """Document `index`; `IndexError` outside the corpus."""
        if not 0 <= index < self.n_documents:
            raise IndexError(f"document {index} of {self.n_documents}")
        family, draft = self.draft(index)
        return WorldDocument(
            tokens=np.array(draft.tokens, dtype=np.int32),
            template=np.array(draft.chat, dtype=np.bool_),
            labels=np.array(draft.labels, dtype=np.uint64),
            answers=np.array(draft.answers, dtype=np.bool_),
            family=family,
        )

    def draft(self, index: int) -> tuple[str, Draft]:
        """Document `index` as Python lists, and the name of its family."""
        random = Random(mix(self.seed, index))
        names, weights = _family_weights()
        family = random.choices(names, cum_weights=weights)[0]
        draft = Draft()
        FAMILIES[family][0](random, draft)
        return family, draft


def mix(seed: int, index: int) -> int:
    """A 64-bit number that is unrelated for neighbouring seeds and indices (two rounds of splitmix64)."""
    state = seed & _SIXTY_FOUR_BITS
    for word in (index, 0):
        state = (state + 0x9E3779B97F4A7C15 * (word + 1)) & _SIXTY_FOUR_BITS
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _SIXTY_FOUR_BITS
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _SIXTY_FOUR_BITS
        state ^= state >> 31
    return state


@cache
def _family_weights() -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Names and cumulative sampling weights: a family's share of the tokens over its mean length."""
    random = Random(0)
    weights = []
    for write, share in FAMILIES.values():
        draft = Draft()
        for _ in range(_DOCUMENTS_FOR_MEAN_LENGTH):
            draft.active = draft.spreading = draft.suppressed = 0
            write(random, draft)
        weights.append(share * _DOCUMENTS_FOR_MEAN_LENGTH / len(draft.tokens))
    return tuple(FAMILIES), tuple(accumulate(weights))
