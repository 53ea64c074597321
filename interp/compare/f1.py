"""Best F1 of many features as detectors of many labels, and the F1 of one detector with its interval."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.statistics.auroc import below_and_upto
from interp.statistics.estimate import Estimate, ratio_interval


def best_f1_table(
    values: Float[Tensor, "example feature"],
    labels: Bool[Tensor, "example label"],
    columns_at_once: int = 512,
) -> tuple[Float[Tensor, "feature label"], Float[Tensor, "feature label"]]:
    """Returns the largest F1 that "value >= threshold" reaches for each label, and the threshold.

    NaN for a label without positives. F1 = 2 TP / (predicted + P) with P positives. Between two positives a
    lower threshold only adds false ones, so the best threshold is a positive's value: for the i-th highest
    positive, TP = i and `predicted` is the number of examples at least as high. Equal values are predicted
    together: the last of them has the right TP, and the largest.
    """
    places = [labels[:, label].nonzero()[:, 0] for label in range(labels.shape[1])]
    best = torch.full((values.shape[1], labels.shape[1]), torch.nan)
    thresholds = best.clone()
    for start in range(0, values.shape[1], columns_at_once):
        part = values[:, start : start + columns_at_once].float()
        below, _ = below_and_upto(part.T.contiguous())
        predicted = (len(values) - below).T
        inside = slice(start, start + part.shape[1])
        for label, positive in enumerate(places):
            if len(positive) == 0:
                continue
            ranked = predicted[positive].sort(dim=0)
            hits = torch.arange(1, len(positive) + 1)[:, None]
            f1, at = (2 * hits / (ranked.values + len(positive))).max(0)
            best[inside, label] = f1
            example = positive[ranked.indices.gather(0, at[None])[0]]
            thresholds[inside, label] = part.gather(0, example[None])[0]
    return best, thresholds


def f1_interval(
    predicted: Bool[np.ndarray, " example"],
    label: Bool[np.ndarray, " example"],
    document: Int[np.ndarray, " example"],
    draws: int,
    seed: int,
) -> Estimate:
    """Returns the F1 of one detector with its 95% percentile bootstrap interval over documents.

    F1 is 0 if nothing is found; NaN without positives.
    """
    if not label.any():
        return Estimate()
    return ratio_interval(
        2.0 * (predicted & label), predicted.astype(np.float64) + label, document, draws, seed
    )
