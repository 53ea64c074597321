"""The world's corpus: labelled documents, each a pure function of the seed and its index."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random

import numpy as np
from jaxtyping import Int, UInt64
from numpy.typing import NDArray

from interp.bundled.world.concepts import CONCEPTS, definitions
from interp.bundled.world.draft import Draft, Family
from interp.bundled.world.families import agreement, chat, knowledge, numbers, sentences, tasks
from interp.bundled.world.labelling import labels_of
from interp.document import Document
from interp.errors import UserError

FAMILIES: tuple[Family, ...] = (
    Family("fact", 0.10, knowledge.fact),
    Family("table", 0.13, knowledge.table),
    Family("description", 0.08, knowledge.description),
    Family("identity", 0.05, knowledge.identity),
    Family("two_hop", 0.09, knowledge.two_hop),
    Family("in_context", 0.13, tasks.in_context),
    Family("list", 0.12, tasks.copy_list),
    Family("chat", 0.10, chat.chat),
    Family("agreement", 0.03, agreement.agreement),
    Family("numbers", 0.17, numbers.numbers),
    Family("topic", 0.03, sentences.topic),
    Family("translation", 0.09, sentences.translation),
)
"""The documents of the bundled world."""
MOST_CONCEPTS = 64
_SIXTY_FOUR_BITS = 0xFFFFFFFFFFFFFFFF
_DOCUMENTS_FOR_MEAN_LENGTH = 400


@dataclass(frozen=True)
class WorldDocument(Document):
    """A document of the world; `answers` [pos] marks the tokens that the text before them determines."""

    answers: NDArray[np.bool_] | None = None
    family: str = ""

    def __repr__(self) -> str:
        return f"WorldDocument({len(self.tokens):,} tokens, {self.family})"


class WorldCorpus:
    """Documents of the world in random access (the `Corpus` protocol), labelled with its concepts.

    With `families` of your own beside (or in place of) `FAMILIES`, the corpus has their documents and
    concepts, too; its words stay the world's.

    Raises:
        UserError: two families have one name, or bring a concept that is there already, or there are more
            than 64 concepts.
    """

    def __init__(self, seed: int, n_documents: int, families: Sequence[Family] = FAMILIES) -> None:
        """Make a corpus; a larger one with the same seed begins with the documents of a smaller one."""
        if n_documents < 0:
            raise ValueError(f"n_documents must not be negative: {n_documents}")
        self.seed = seed
        self.n_documents = n_documents
        self.families = tuple(families)
        brought = [pair for family in self.families for pair in family.concepts]
        self._definitions = definitions() | dict(brought)
        _check([family.name for family in self.families], "two families are called")
        _check([*CONCEPTS, *(name for name, _ in brought)], "two concepts are called")
        if len(self._definitions) > MOST_CONCEPTS:
            raise UserError(
                f"{len(self._definitions)} concepts do not fit {MOST_CONCEPTS} bits",
                "families",
                "bring fewer",
            )
        self._bits = {name: 1 << place for place, name in enumerate(self._definitions)}

    def __repr__(self) -> str:
        return f"WorldCorpus(seed {self.seed}, {self.n_documents:,} documents)"

    @property
    def name(self) -> str:
        """The name, with everything that decides the content."""
        own = [f.name for f in self.families if f not in FAMILIES]
        more = f", families={'+'.join(own)}" if own or len(self.families) < len(FAMILIES) else ""
        return f"world(seed={self.seed}, n_documents={self.n_documents}{more})"

    @property
    def label_names(self) -> tuple[str, ...]:
        """The concepts, in the order of their bits."""
        return tuple(self._definitions)

    @property
    def definitions(self) -> dict[str, str]:
        """What each concept's label marks, in words."""
        return self._definitions

    def labels_of(self, tokens: Int[np.ndarray, " token"]) -> UInt64[np.ndarray, " token"]:
        """Labels of any text: the concepts that its words carry in every context."""
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
        weights = _cumulative_weights(self.families)
        family = random.choices(self.families, cum_weights=weights)[0]
        draft = Draft(self._bits)
        family.write(random, draft)
        return family.name, draft


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
def _cumulative_weights(families: tuple[Family, ...]) -> tuple[float, ...]:
    """Cumulative sampling weights: a family's share of the tokens over its mean length."""
    random = Random(0)
    weights = []
    for family in families:
        bits = {name: 0 for name, _ in family.concepts}
        drafts = [Draft(bits) for _ in range(_DOCUMENTS_FOR_MEAN_LENGTH)]
        for draft in drafts:
            family.write(random, draft)
        tokens = sum(len(draft.tokens) for draft in drafts)
        weights.append(family.share * _DOCUMENTS_FOR_MEAN_LENGTH / tokens)
    return tuple(accumulate(weights))


def _check(names: Sequence[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{what} {name!r}", "families", "name each differently")
