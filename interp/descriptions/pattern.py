"""A pruned context with the importance of each token, and the settings of the search for it."""

from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from jaxtyping import Float, Int

from interp.descriptions.query import Slope
from interp.descriptions.trie import ANY, IGNORE, Path


@dataclass(frozen=True)
class ExplainSettings:
    """Settings of the search; the defaults give some hundred features a minute on a small model."""

    keep: float = 0.5
    """Share of the activation that a shorter context or a replaced token has to keep."""
    full: float = 0.85
    """Share of the activation at which the search for more context stops."""
    full_context: int = 4
    """Number of context tokens up to which `full` is searched for once `keep` is reached."""
    context_levels: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)
    """Numbers of context tokens to try, ascending; the last is the longest context of a pattern."""
    importance: float = 0.4
    """A token matters if replacing it loses at least this share of the activation, on average."""
    substitutes: int = 2
    """Number of random tokens over which importance is averaged."""
    estimated: int = 16
    """Number of random tokens of whose estimated changes the root mean square is taken."""
    sloped: int = 3
    """Patterns of more tokens than this are weighed with a gradient, which costs two passes."""
    possible: float = 0.25
    """A token is tried if a random one in its place changes the activation by this share, by the estimate."""
    candidates: int = 12
    """Replacements tried for the activating token besides the substitutes; half as many for context."""
    pruning: float = 40.0
    """Window-passes of a feature for pruning contexts; its weaker peaks go without when they are spent."""
    weighing: float = 40.0
    """Window-passes of a feature for weighing tokens; its weaker patterns keep all tokens."""
    trying: float = 36.0
    """Window-passes of a feature for trying other tokens, those first that gradients estimate highest."""
    examples: int = 24
    """Largest number of peaks per feature: that of each exemplar, then those of different tokens."""
    often: int = 2
    """Number of occurrences of a token from which on the feature's value on it counts as known."""
    visible: float = 0.05
    """Share of the peak by which that value must differ from the patterns' prediction."""
    seed: int = 0


@dataclass
class Pattern:
    """One pruned context of one feature, with the importance of each token.

    `tokens` is context then activating token. `true` is the activation in the full text (mean over the
    `support` exemplars that share the pattern), `measured` that of the pruned tokens alone.
    `exemplars` of them have no shorter one.
    `importance[i]` is the share lost without token i. `replacements[i]` maps tokens that keep the
    activation in place i to the activation measured with them. `slope` estimates either; it is of
    these tokens after `dropped` others.
    """

    feature: int
    tokens: Int[np.ndarray, " token"]
    before: Int[np.ndarray, " context"]
    true: float
    measured: float
    support: int = 1
    exemplars: int = 1
    importance: Float[np.ndarray, " token"] = field(default_factory=lambda: np.zeros(0))
    replacements: list[dict[int, float]] = field(default_factory=list)
    slope: Slope | None = None
    dropped: int = 0

    def path(self, threshold: float, place: int | None = None, token: int = IGNORE) -> Path:
        """The trie path, activating token first; optionally with another token in one place."""
        tokens = [
            int(t) if importance >= threshold else IGNORE
            for t, importance in zip(self.tokens, self.importance, strict=True)
        ]
        if place is not None:
            tokens[place] = token
        path = tokens[::-1]
        while path and path[-1] == IGNORE:
            path.pop()
        if not path:
            return (int(self.tokens[-1]),)
        return (path[0], *_any_distance(path[1:]))


def _any_distance(context: list[int]) -> list[int]:
    """Five unimportant tokens or more become any number: an exact long distance seldom matters."""
    general: list[int] = []
    for ignored, run in groupby(context, key=lambda token: token == IGNORE):
        tokens = list(run)
        general += [ANY] if ignored and len(tokens) > 4 else tokens
    return general
