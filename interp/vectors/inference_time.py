"""Inference-time intervention: shifts the heads from which a probe best tells true from false.

Li et al. 2023, "Inference-Time Intervention" (arXiv 2306.03341).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.vectors.contrastive import Pair, PairReadings, read_pairs
from interp.vectors.function import Head
from interp.vectors.vector import Vector

Direction = Literal["mass", "probe", "random"]
TRAINED = 0.8  # share of the pairs; the rest evaluates the probes


@dataclass(frozen=True, eq=False)
class HeadProbes:
    """Probes of every head's output: how well they do, and the directions to shift along.

    `log_loss` [layer, head], in nats, and `accuracy` [layer, head] are on pairs that no probe was fitted on;
    heads are ranked by the first, since many tie in the second. `direction` [layer, head, d_head] has
    length 1 and points to the positive side; `sigma` [layer, head] is the standard deviation of the
    outputs along it.
    """

    log_loss: Float[Tensor, "layer head"]
    accuracy: Float[Tensor, "layer head"]
    direction: Float[Tensor, "layer head d_head"]
    sigma: Float[Tensor, "layer head"]


def probe_heads(
    subject: Subject,
    pairs: Sequence[Pair],
    direction: Direction = "mass",
    *,
    seed: int = 0,
    readings: PairReadings | None = None,
) -> HeadProbes:
    """Fits a logistic regression to each head's output at the last token, and finds a direction for each.

    Directions are the difference of the two sides' means ("centre of mass", what the authors recommend), the
    probes' weights, or random ones (the null).

    Raises:
        UserError: fewer than five pairs.
    """
    if len(pairs) < 5:
        raise UserError(
            f"{len(pairs)} pairs are too few to fit and test probes", "pairs", "give at least five"
        )
    sites = [Site("head_out", layer) for layer in range(subject.n_layers)]
    read = read_pairs(subject, pairs, sites) if readings is None else readings
    positive, negative = (
        torch.stack([side[site] for site in sites], 1).double() for side in (read.positive, read.negative)
    )
    order = np.random.default_rng(seed).permutation(len(pairs))
    fitted = round(TRAINED * len(pairs))
    loss, accuracy, weights = _probes(positive, negative, order[:fitted], order[fitted:])
    if direction == "mass":
        towards = positive.mean(0) - negative.mean(0)
    elif direction == "probe":
        towards = weights
    else:
        towards = torch.randn(weights.shape, generator=torch.Generator().manual_seed(seed)).double()
    unit = torch.nn.functional.normalize(towards, dim=-1)
    along = (torch.cat([positive, negative]) * unit).sum(-1)
    return HeadProbes(loss, accuracy, unit.float(), along.std(0).float())


def inference_time_vectors(subject: Subject, probes: HeadProbes, count: int, name: str) -> list[Vector]:
    """Scales the directions of the `count` heads with the least log-loss by sigma; one vector per layer.

    Used together, added at every token that a next one is read from; their coefficient is the paper's alpha
    (15, with 48 heads, for 7B models).

    Raises:
        UserError: the subject has not that many heads.
    """
    n_heads = subject.n_heads
    if not 0 < count <= subject.n_layers * n_heads:
        raise UserError(
            f"the model has {subject.n_layers * n_heads} heads, not {count}", "heads", "ask for fewer"
        )
    order = probes.log_loss.flatten().argsort(stable=True)[:count].tolist()
    heads: list[Head] = [(place // n_heads, place % n_heads) for place in order]
    vectors = []
    for layer in sorted({layer for layer, _ in heads}):
        own = [head for at, head in heads if at == layer]
        values = torch.zeros_like(probes.direction[layer])
        values[own] = probes.direction[layer, own] * probes.sigma[layer, own, None]
        made = {"method": "inference-time intervention", "heads": own}
        vectors.append(Vector(name, Site("head_out", layer), values, subject.name, "add", "steps", made))
    return vectors


def _probes(
    positive: Float[Tensor, "pair layer head d_head"],
    negative: Float[Tensor, "pair layer head d_head"],
    fitted: np.ndarray,
    held_out: np.ndarray,
) -> tuple[Float[Tensor, "layer head"], Float[Tensor, "layer head"], Float[Tensor, "layer head d_head"]]:
    """Fits each head's probe; returns log-loss and accuracy on the held-out pairs, and weights."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    _, n_layers, n_heads, d_head = positive.shape
    loss, accuracy = torch.empty(2, n_layers, n_heads)
    weights = torch.empty(n_layers, n_heads, d_head).double()
    said = [1] * len(held_out) + [0] * len(held_out)
    for layer, head in np.ndindex(n_layers, n_heads):
        train, test = (
            torch.cat([positive[part, layer, head], negative[part, layer, head]]).numpy()
            for part in (fitted, held_out)
        )
        probe = LogisticRegression(max_iter=1000).fit(train, [1] * len(fitted) + [0] * len(fitted))
        accuracy[layer, head] = float(probe.score(test, said))
        loss[layer, head] = log_loss(said, probe.predict_proba(test))
        weights[layer, head] = torch.from_numpy(probe.coef_[0])
    return loss, accuracy, weights
