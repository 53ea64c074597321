"""Labels of any sequence of tokens, such as a generated answer: the concepts that its words carry."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool, UInt64
from numpy.typing import NDArray

from interp.bundled.world.concepts import CONCEPTS, bit, lexical_labels
from interp.bundled.world.vocabulary import vocabulary
from interp.errors import UserError


@cache
def carried() -> NDArray[np.uint64]:
    """Bit masks [token] of the concepts that each token of the vocabulary carries in every context."""
    labels = lexical_labels()
    return np.array([labels.get(word, 0) for word in vocabulary()], dtype=np.uint64)


def labels_of(tokens: Sequence[int], spreading: Sequence[str] = ()) -> UInt64[np.ndarray, " token"]:
    """The labels of a token sequence, as bit masks over `CONCEPTS` [token].

    A token carries the concepts of its word; those among `spreading` hold from the first token that carries
    them to the end, as they do in a document that is about them. A corpus' own labels differ where a word
    stands in a role of its own ("clean" in a chat request is a verb) and where a concept is announced by the
    kind of document and not by a word (an in-context task, a refusal).

    Raises:
        UserError: a token is not in the world's vocabulary, or there is no such concept.
    """
    ids, table = np.asarray(tokens, dtype=np.int64).reshape(-1), carried()
    outside = ids[(ids < 0) | (ids >= len(table))]
    if len(outside):
        raise UserError(
            f"the world has no token {outside[0]}", "tokens", f"use ids from 0 to {len(table) - 1}"
        )
    held = np.uint64(0)
    for concept in spreading:
        held |= np.uint64(_known(concept))
    labels = table[ids]
    return labels | (np.bitwise_or.accumulate(labels) & held)


def carries(tokens: Sequence[int], concept: str) -> Bool[np.ndarray, " token"]:
    """Which tokens are words that carry a concept.

    Raises:
        UserError: there is no such concept, or no word carries it.
    """
    mask = np.uint64(_known(concept))
    if not (carried() & mask).any():
        raise UserError(
            f"no word carries {concept}, so no text can be labelled with it",
            "concept",
            f"use one of {', '.join(lexical_concepts())}",
        )
    return np.asarray(labels_of(tokens) & mask != 0)


def lexical_concepts() -> tuple[str, ...]:
    """The concepts that some word carries in every context."""
    present = int(np.bitwise_or.reduce(carried()))
    return tuple(concept for concept in CONCEPTS if present & bit(concept))


def _known(concept: str) -> int:
    if concept not in CONCEPTS:
        raise UserError(
            f"the world has no concept {concept!r}", "concept", f"use one of {', '.join(CONCEPTS)}"
        )
    return bit(concept)
