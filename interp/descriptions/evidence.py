"""Windows of tokens with a feature's activations, from which descriptions are made and scored."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int


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
