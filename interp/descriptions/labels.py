"""Labelled concepts of a corpus: which tokens carry one, and what it means in words."""

import numpy as np
from jaxtyping import Bool, UInt64

from interp.descriptions.evidence import Window
from interp.document import Corpus


def carries(corpus: Corpus, window: Window, concept: str) -> Bool[np.ndarray, " token"]:
    """Returns which tokens of the window carry the concept; none in text without labels.

    Text from outside the corpus is labelled by its words, if the corpus can do that (`labels_of`).
    """
    labels: UInt64[np.ndarray, " _"] | None
    if window.document < 0:
        label = getattr(corpus, "labels_of", None)
        labels = None if label is None else label(window.tokens)
    else:
        labels = corpus[window.document].labels
    if labels is None:
        return np.zeros(len(window.tokens), dtype=np.bool_)
    bit = np.uint64(1 << corpus.label_names.index(concept))
    inside = labels[window.start : window.start + len(window.tokens)]
    marked: Bool[np.ndarray, " token"] = (inside & bit) != 0
    return marked


def definition(corpus: Corpus, concept: str) -> str:
    """Defines a concept in words if the corpus has them, else by the label's name."""
    known: dict[str, str] = getattr(corpus, "definitions", {})
    return known.get(concept, concept.replace("_", " "))
