"""Windows of tokens with a feature's activations, and labels: what descriptions are made of and scored on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from interp.document import Corpus


@dataclass(frozen=True, eq=False)
class Window:
    """Consecutive tokens of one document (without BOS) with one feature's activation on each.

    `values` are activations in the feature's polarity. `counts` is False where a token is context only
    (template, special): it is never a peak and never scored. `start` is the position of the first one in the
    document; `document` is negative for text of no corpus, such as what a model wrote.
    """

    tokens: Int[np.ndarray, " token"]
    values: Float[np.ndarray, " token"]
    document: int
    counts: Bool[np.ndarray, " token"]
    start: int = 0


@dataclass(frozen=True)
class Evidence:
    """The explain-split windows of one feature.

    `exemplars` are its strongest windows: their peaks are pruned, substituted and turned into patterns.
    `background` are other windows mined for it (quantile samples, silent ones), `random` ones drawn without
    regard to it: they calibrate the values that the patterns predict, and show what the feature weakly does
    on ordinary text. Nothing of the select or report split belongs here.
    """

    exemplars: Sequence[Window]
    background: Sequence[Window] = field(default=())
    random: Sequence[Window] = field(default=())

    @property
    def windows(self) -> list[Window]:
        """The windows mined for the feature: exemplars first, then background."""
        return [*self.exemplars, *self.background]

    @property
    def text(self) -> list[Window]:
        """Every window, exemplars first, random ones last."""
        return [*self.windows, *self.random]


def label_mask(corpus: Corpus, window: Window, concept: str) -> Bool[np.ndarray, " token"]:
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
