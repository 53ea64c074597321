"""The only questions a description asks of a model, so that any model or rule can be described."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

TokenRow = Int[np.ndarray, " token"]
"""Token ids without BOS; the answering function puts exactly one BOS before them."""

Activations = Callable[[list[np.ndarray]], list[np.ndarray]]
"""One feature in one polarity: token rows in, its activation on every token of each out."""


class Query(NamedTuple):
    """What is the activation of feature number `feature` on the last token of `tokens`?

    The first `shared` tokens are those of other queries, too, so that they need to be computed only once;
    None says nothing of it.
    """

    feature: int
    tokens: TokenRow
    shared: int | None = None


@runtime_checkable
class Slope(Protocol):
    """First-order estimates for one query, from the gradient of its activation."""

    def change(self, place: int, tokens: Int[np.ndarray, " candidate"]) -> Float[np.ndarray, " candidate"]:
        """Estimates by how much the activation changes with each of these tokens at a place of the row."""
        ...


@runtime_checkable
class Slopes(Protocol):
    """Where slopes come from."""

    def __call__(self, queries: Sequence[Query]) -> Sequence[Slope | None]:
        """Gives the slope of each query; None where there is no gradient."""
        ...

    def know(self, tokens: Int[np.ndarray, " token"]) -> None:
        """Lets all slopes know these tokens, of which they will be asked."""
        ...


Ask = Callable[[Sequence[Query]], Float[np.ndarray, " query"]]
"""Answers many queries about several features at once, and batches them itself."""

Propose = Callable[[Int[np.ndarray, " token"]], Int[np.ndarray, "token candidate"]]
"""Gives ids worth trying in the place of each token, best first."""


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


class NoSlopes:
    """Gives no gradients: what is to be tried is tried in the order given."""

    def __call__(self, queries: Sequence[Query]) -> list[Slope | None]:
        """None for each query."""
        return [None for _ in queries]

    def know(self, tokens: Int[np.ndarray, " token"]) -> None:
        """Does nothing."""


def propose_nothing(tokens: Int[np.ndarray, " token"]) -> Int[np.ndarray, "token candidate"]:
    """Propose no candidates: only tokens of the evidence itself are tried."""
    return np.empty((len(tokens), 0), dtype=np.int64)
