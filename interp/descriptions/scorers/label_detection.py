"""Agreement with the truth: how well predicted activations detect the tokens that carry a label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from interp.descriptions.candidate import Simulated
from interp.descriptions.excerpt import Excerpt
from interp.statistics.auroc import auroc_interval


@dataclass(frozen=True)
class LabelDetection:
    """AUROC of predicted activations as a detector of a label, with its 95% interval over documents.

    NaN where no token, or every one, carries the label. `positives` of `n` tokens carry it; `failures`
    excerpts had no prediction.
    """

    value: float
    low: float
    high: float
    positives: int
    n: int
    failures: int


def label_detection(
    simulated: Simulated,
    excerpts: Sequence[Excerpt],
    label: Sequence[Bool[np.ndarray, " _"]],
    draws: int = 200,
    seed: int = 0,
) -> LabelDetection:
    """Measures how well a simulation detects a label on the tokens that count; `label` [excerpt][token].

    With `draws` 0 there is no interval (NaN).
    """
    read = [
        (value[e.counts], mark[e.counts], np.full(int(e.counts.sum()), e.window.document))
        for value, e, mark in zip(simulated.values, excerpts, label, strict=True)
        if value is not None
    ]
    if not read:
        return LabelDetection(np.nan, np.nan, np.nan, 0, 0, simulated.failures)
    score, truth, document = (np.concatenate(part) for part in zip(*read, strict=True))
    positives, n = int(truth.sum()), len(truth)
    if positives in (0, n):
        return LabelDetection(np.nan, np.nan, np.nan, positives, n, simulated.failures)
    area = auroc_interval(score.astype(np.float64), truth, document, draws, seed)
    return LabelDetection(*area, positives, n, simulated.failures)
