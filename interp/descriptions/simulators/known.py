"""Simulates descriptions whose exact meaning is known: pattern tries, and labels of the corpus."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from interp.descriptions.candidate import SCALE, Candidate, Simulated
from interp.descriptions.evidence import Window, label_mask
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.trie import PatternTrie, simulate
from interp.document import Corpus
from interp.errors import UserError


class TrieSimulator:
    """The `Simulator` that is a description's own trie, in the units of the activation; reads no words.

    What a trie predicts for the same tokens is computed once.
    """

    name = "trie"

    def __init__(self) -> None:
        self._simulated: dict[int, tuple[PatternTrie, dict[bytes, Float[np.ndarray, " token"]]]] = {}

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        """Predicts activations for each excerpt, unscaled: a correlation does not depend on scale."""
        assert candidate.pattern is not None
        trie = candidate.pattern.trie
        return Simulated(tuple(self.predict(trie, excerpt.window) for excerpt in excerpts))

    def predict(self, trie: PatternTrie, window: Window) -> Float[np.ndarray, " token"]:
        """Returns a trie's predictions for one window."""
        # the trie is kept beside its predictions, so that no other can get its id
        _, simulated = self._simulated.setdefault(id(trie), (trie, {}))
        key = window.tokens.tobytes()
        if key not in simulated:
            simulated[key] = simulate(trie, window.tokens)
        return simulated[key]


class KnownSimulator:
    """The `Simulator` that needs no language model.

    A trie's prediction is given as a share of its largest one; a concept is `SCALE` on the tokens that carry
    its label and 0 elsewhere.
    """

    name = "known"

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._tries = TrieSimulator()

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        """Predictions for each excerpt.

        Raises:
            UserError: the candidate is words only, or a concept that the corpus does not label.
        """
        return Simulated(tuple(self.predict(candidate, excerpt.window) for excerpt in excerpts))

    def predict(self, candidate: Candidate, window: Window) -> Float[np.ndarray, " token"]:
        """Returns the predictions for one window; raises as `simulate`."""
        if candidate.pattern is not None:
            trie = candidate.pattern.trie
            predicted = self._tries.predict(trie, window)
            shares = np.clip(predicted / trie.peak, 0, 1) if trie.peak > 0 else np.zeros(len(predicted))
            return SCALE * shares
        if candidate.concept not in self._corpus.label_names:
            raise UserError(
                f"nothing but its words is known of {candidate.text!r}",
                f"explainer {candidate.explainer}",
                "choose a simulator of words: likely_words, structured, expected_value, prompt_logprobs",
            )
        return SCALE * label_mask(self._corpus, window, candidate.concept).astype(np.float64)
