"""Simulate descriptions of which is known exactly what they say: pattern tries, and labels of the corpus."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from interp.descriptions.candidate import SCALE, Candidate, Simulated
from interp.descriptions.evidence import Window
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.labels import carries
from interp.descriptions.simulate import simulate
from interp.descriptions.trie import PatternTrie
from interp.document import Corpus
from interp.errors import UserError


class KnownSimulator:
    """The `Simulator` that needs no language model.

    A trie's prediction is given as a share of its largest one; a concept is `SCALE` on the tokens that carry
    its label and 0 elsewhere. What a trie predicts for the same tokens is computed once.
    """

    name = "known"

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._simulated: dict[int, tuple[PatternTrie, dict[bytes, Float[np.ndarray, " token"]]]] = {}

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        """Predictions for each excerpt.

        Raises:
            UserError: the candidate is words only, or a concept that the corpus does not label.
        """
        return Simulated(tuple(self.predict(candidate, excerpt.window) for excerpt in excerpts))

    def predict(self, candidate: Candidate, window: Window) -> Float[np.ndarray, " token"]:
        """The predictions for one window; raises as `simulate` does."""
        if candidate.pattern is not None:
            return self._by_trie(candidate.pattern.trie, window)
        if candidate.concept not in self._corpus.label_names:
            raise UserError(
                f"nothing but its words is known of {candidate.text!r}",
                f"explainer {candidate.explainer}",
                "choose a simulator that reads words: structured, expected_value or prompt_logprobs",
            )
        return SCALE * carries(self._corpus, window, candidate.concept).astype(np.float64)

    def _by_trie(self, trie: PatternTrie, window: Window) -> Float[np.ndarray, " token"]:
        # the trie is kept beside what it predicted, so that no other can come to have its id
        _, simulated = self._simulated.setdefault(id(trie), (trie, {}))
        key = window.tokens.tobytes()
        if key not in simulated:
            predicted = simulate(trie, window.tokens)
            shares = np.clip(predicted / trie.peak, 0, 1) if trie.peak > 0 else np.zeros(len(predicted))
            simulated[key] = SCALE * shares
        return simulated[key]
