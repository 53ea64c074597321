"""Trains a dense probe of every concept, the upper reference for single features."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from interp.statistics.auroc import auroc_table
from interp.track.progress import Progress, silent


@dataclass(frozen=True)
class Probes:
    """A linear probe for each label: the score of an activation is `x @ direction + bias` (log-odds).

    `strength` [label] is scikit-learn's C of each, chosen on the select split.
    """

    direction: Float[Tensor, "label d_site"]
    bias: Float[Tensor, " label"]
    strength: tuple[float, ...]

    def scores(self, activations: Float[Tensor, "example d_site"]) -> Float[Tensor, "example label"]:
        """Returns the log-odds of every label."""
        return activations.float() @ self.direction.T + self.bias


def train_probes(
    explain: tuple[Float[Tensor, "example d_site"], Bool[Tensor, "example label"]],
    select: tuple[Float[Tensor, "other d_site"], Bool[Tensor, "other label"]],
    strengths: Sequence[float] = (0.001, 0.03, 1.0),
    most_iterations: int = 300,
    progress: Progress | None = None,
) -> Probes:
    """Fits logistic regressions with an L2 penalty, each label on its own, on standardised activations.

    They are trained on the explain split; C, the inverse of the penalty's weight, has the best AUROC on the
    select split. Every label must have examples with and without it on both splits.
    """
    x, labels = explain
    mean, scale = x.mean(0), x.std(0).clamp(min=1e-6)
    standard = ((x - mean) / scale).double().numpy()
    held_out = ((select[0] - mean) / scale).double()
    directions, biases, chosen = [], [], []
    n_labels = labels.shape[1]
    with (progress or silent()).task("training dense probes", total=n_labels, unit="probes") as advance:
        for label in range(n_labels):
            fits = [_fit(standard, labels[:, label].numpy(), c, most_iterations) for c in strengths]
            scores = torch.stack([held_out @ torch.from_numpy(w) for w, _ in fits], 1)
            areas = auroc_table(scores, select[1][:, label : label + 1])[:, 0]
            best = int(areas.argmax())
            weight, bias = fits[best]
            direction = torch.from_numpy(weight).float() / scale
            directions.append(direction)
            biases.append(bias - float(direction @ mean))
            chosen.append(float(strengths[best]))
            advance(1)
    return Probes(torch.stack(directions), torch.tensor(biases), tuple(chosen))


def _fit(
    x: Float[np.ndarray, "example d"], label: Bool[np.ndarray, " example"], c: float, iterations: int
) -> tuple[Float[np.ndarray, " d"], float]:
    model = LogisticRegression(C=float(c), max_iter=iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # approximate convergence suffices here
        model.fit(x, label)
    return model.coef_[0].astype(np.float64), float(model.intercept_[0])
