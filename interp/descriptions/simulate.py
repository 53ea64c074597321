"""Predicts a feature's activations on any text from its pattern trie."""

import numpy as np
from jaxtyping import Float, Int

from interp.descriptions.trie import PatternTrie


def simulate(trie: PatternTrie, tokens: Int[np.ndarray, " token"]) -> Float[np.ndarray, " token"]:
    """Predicts activations on a token row (without BOS).

    The most specific matching pattern gives the value (`trie.specificity`); without a match it is the
    trie's baseline. Each value depends on that token and those before it only.
    """
    winners = trie.winners(tokens)
    predicted = np.full(len(tokens), trie.baseline)
    matched = winners >= 0
    predicted[matched] = trie.values[winners[matched]]
    return predicted
