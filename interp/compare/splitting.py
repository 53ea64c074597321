"""Feature splitting: over how many latents a dictionary spreads one concept."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from interp.compare.f1 import best_f1_table, f1_interval

JUMP = 0.03
"""By how much the k-th latent must raise F1 to count as a split (tau_fs of Chanin et al. 2024)."""


@dataclass(frozen=True)
class Splitting:
    """The latents over which one concept is split.

    `latents` are the split latents, most important first: the first one, and further ones until one raises
    the select split's F1 by no more than `JUMP`. `f1` [k] are report-split F1s of probes
    on the first 1, 2, ... latents tried, of which `low` and `high` are the 95% intervals over documents.
    """

    latents: tuple[int, ...]
    tried: tuple[int, ...]
    selected: tuple[float, ...]
    f1: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def n_splits(self) -> int:
        """The number of latents that the concept is split over; 1 is no splitting."""
        return len(self.latents)


LabelledLatents = tuple[Float[Tensor, "example latent"], Bool[Tensor, " example"]]
"""Activations of all latents, and whether each example carries the concept."""


def rank_latents(
    explain: LabelledLatents, k: int, candidates: int = 64, most_negatives: int = 4000, seed: int = 0
) -> list[int]:
    """Returns the `k` latents with the largest weights in an L1 probe of the concept, as SAEBench does.

    The probe sees the `candidates` latents whose means with and without the concept differ most in units of
    their deviation (Gurnee et al. 2023), scaled to deviation 1, and at most `most_negatives` examples
    without the concept.
    """
    values, label = explain
    x = values.float()
    gap = (x[label].mean(0) - x[~label].mean(0)) / x.std(0).clamp(min=1e-6)
    chosen = gap.abs().topk(min(candidates, x.shape[1])).indices
    negatives = (~label).nonzero()[:, 0]
    order = torch.randperm(len(negatives), generator=torch.Generator().manual_seed(seed))
    rows = torch.cat([label.nonzero()[:, 0], negatives[order[:most_negatives]]])
    part = x[rows][:, chosen]
    scaled = (part / part.std(0).clamp(min=1e-6)).double().numpy()
    model = LogisticRegression(C=0.1, l1_ratio=1.0, solver="liblinear", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaled, label[rows].numpy())
    weight = torch.from_numpy(np.abs(model.coef_[0]))
    # if the penalty leaves fewer than k, the difference of means decides
    strength = weight + 1e-9 * gap[chosen].abs()
    return chosen[strength.topk(min(k, len(chosen))).indices].tolist()


def splitting(
    explain: LabelledLatents,
    select: LabelledLatents,
    report: LabelledLatents,
    document: Int[np.ndarray, " example"],
    most: int = 6,
    ranked: Sequence[int] | None = None,
    jump: float = JUMP,
    draws: int = 200,
    seed: int = 0,
) -> Splitting:
    """Fits k-sparse probes of a concept for k = 1 to `most` (Gurnee et al. 2023; Chanin et al. 2024, sec. 4).

    A logistic probe on the first k latents is trained on the explain split; its threshold, and so its F1,
    is chosen on the select split, where the splits are counted, and the F1 is measured on the report split.
    `document` is the document of each report example. `ranked` gives latents instead of `rank_latents`.
    """
    latents = list(ranked) if ranked is not None else rank_latents(explain, most, seed=seed)
    selected, f1s = [], []
    for k in range(1, min(most, len(latents)) + 1):
        chosen = latents[:k]
        x, scale = _scaled(explain[0], chosen)
        model = LogisticRegression(C=10.0, max_iter=200).fit(x, explain[1].numpy())
        weight = torch.from_numpy(model.coef_[0]) / scale
        held, scores = (part[0][:, chosen].double() @ weight for part in (select, report))
        best, threshold = best_f1_table(held[:, None], select[1][:, None])
        selected.append(float(best))
        on = (scores.float() >= float(threshold)).numpy()
        f1s.append(f1_interval(on, report[1].numpy(), document, draws, seed))
    jumps = [k for k in range(1, len(selected)) if selected[k] - selected[k - 1] > jump]
    consecutive = 1
    while consecutive in jumps:
        consecutive += 1
    values, lows, highs = (tuple(column) for column in zip(*f1s, strict=True))
    return Splitting(
        tuple(latents[:consecutive]), tuple(latents[: len(selected)]), tuple(selected), values, lows, highs
    )


def _scaled(
    values: Float[Tensor, "example latent"], chosen: Sequence[int]
) -> tuple[Float[np.ndarray, "example k"], Float[Tensor, " k"]]:
    x = values[:, list(chosen)].double()
    scale = x.std(0).clamp(min=1e-6)
    return (x / scale).numpy(), scale
