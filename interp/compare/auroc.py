"""Area under the ROC curve of many features against many labels, and its interval over documents."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from interp.compare.ranks import average_ranks


def auroc_table(
    values: Float[Tensor, "token feature"], labels: Bool[Tensor, "token label"], columns_at_once: int = 512
) -> Float[Tensor, "feature label"]:
    """AUROC of every feature as a detector of every label; NaN for a label that all or no tokens carry.

    By the rank-sum identity (Mann & Whitney 1947): AUROC = (R - n(n+1)/2) / (n m), with R the sum of the
    ranks of the n tokens with the label and m the number of those without.
    """
    n = labels.sum(0).double()
    m = len(labels) - n
    sums = [labels.double().T @ average_ranks(part) for part in torch.split(values, columns_at_once, dim=1)]
    table = (torch.cat(sums, 1) - (n * (n + 1) / 2)[:, None]) / (n * m)[:, None]
    return torch.where(((n > 0) & (m > 0))[:, None], table, torch.nan).T


def auroc_interval(
    score: NDArray[np.float64],
    label: NDArray[np.bool_],
    document: NDArray[np.int64],
    draws: int,
    seed: int,
) -> tuple[float, float]:
    """95% percentile interval of one detector's AUROC [token], documents resampled with replacement."""
    rng = np.random.default_rng(seed)
    _, cluster = np.unique(document, return_inverse=True)
    n_clusters = int(cluster.max()) + 1
    weight = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=draws)[:, cluster]
    order = np.argsort(score, kind="stable")
    _, first = np.unique(score[order], return_index=True)
    positive = np.add.reduceat((weight * label)[:, order], first, axis=1)
    negative = np.add.reduceat((weight * ~label)[:, order], first, axis=1)
    below = negative.cumsum(1) - negative / 2
    pairs = positive.sum(1) * negative.sum(1)
    with np.errstate(invalid="ignore"):
        area = (positive * below).sum(1) / pairs
    low, high = np.nanquantile(area, [0.025, 0.975])
    return float(low), float(high)
