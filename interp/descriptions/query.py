"""The only questions a description asks of a model, so that any model or rule can be described."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

TokenRow = Int[np.ndarray, " token"]
"""Token ids without BOS; the answering function puts exactly one BOS before them."""

Activations = Callable[[list[np.ndarray]], list[np.ndarray]]
"""One feature in one polarity: token rows in, its activation on every token of each out."""


class Query(NamedTuple):
    """What is the activation of feature number `feature` on the last token of `tokens`?"""

    feature: int
    tokens: TokenRow


Ask = Callable[[Sequence[Query]], Float[np.ndarray, " query"]]
"""Answers many queries about several features at once, and batches them itself."""

Propose = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Token rows in; for each a table `[token, candidate]` of ids worth trying in the place of each token."""


def ask_of(features: Sequence[Activations]) -> Ask:
    """Turn one activation function per feature into an `Ask`."""

    def ask(queries: Sequence[Query]) -> np.ndarray:
        answers = np.zeros(len(queries))
        for feature in sorted({query.feature for query in queries}):
            at = [i for i, query in enumerate(queries) if query.feature == feature]
            rows = features[feature]([queries[i].tokens for i in at])
            answers[at] = [row[-1] for row in rows]
        return answers

    return ask


def propose_nothing(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Propose no candidates: only tokens of the evidence itself are tried."""
    return [np.empty((len(row), 0), dtype=np.int64) for row in rows]
