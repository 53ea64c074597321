"""Feature hedging: how much of other concepts' directions a concept's latent holds beside its own."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Hedging:
    """How much of one other concept B a latent of concept A holds.

    `share` is B's signed part of the latent's decoder direction within the plane of both concepts' own
    directions, -1 to 1; `association` the phi coefficient of the labels; `response` the latent's mean
    activation on tokens with B alone as a share of that on tokens with A alone (NaN if either is missing, or
    it is silent on the latter).
    """

    share: float
    association: float
    response: float


def own_directions(
    activations: Float[Tensor, "token d_model"],
    labels: Bool[Tensor, "token label"],
    penalty: float | int = 1.0,
) -> Float[Tensor, "label d_model"]:
    """Estimates what each concept adds to the activation with the other concepts held fixed.

    Least squares of the activations on all labels at once and a constant, with `penalty` (in tokens) on the
    labels' coefficients: the difference of means of one concept alone would hold its companions, too.
    """
    x = activations.double() - activations.double().mean(0)
    y = labels.double() - labels.double().mean(0)
    gram = y.T @ y + penalty * torch.eye(labels.shape[1], dtype=torch.float64)
    solved: Tensor = torch.linalg.solve(gram, y.T @ x)
    return solved.float()


def associations(labels: Bool[Tensor, "token label"]) -> Float[Tensor, "label label"]:
    """Returns the phi coefficient (Pearson's r of 0s and 1s) of every two labels; NaN if one is constant."""
    y = labels.double() - labels.double().mean(0)
    length = y.norm(dim=0)
    y = y / torch.where(length > 0, length, torch.nan)
    return (y.T @ y).float()


def signed_shares(
    decoder: Float[Tensor, " d_model"],
    own: Float[Tensor, " d_model"],
    others: Float[Tensor, "other d_model"],
) -> Float[Tensor, " other"]:
    """Returns B's signed share of a decoder direction, for every other concept B.

    With u and v the unit directions of A and B, the direction's projection onto their plane is a u + b v; the
    share is b / (|a| + |b|). 0: nothing of B; 1: nothing of A; negative: B is subtracted. NaN where u and v
    are parallel. A measurable form of what Chanin et al. 2025 (arXiv:2505.11756) call hedging, the merging
    of correlated features' components into one latent of a narrow SAE; theirs compares SAEs of two widths.
    """
    u = torch.nn.functional.normalize(own.double(), dim=0)
    v = torch.nn.functional.normalize(others.double(), dim=1)
    c = v @ u
    du, dv = decoder.double() @ u, v @ decoder.double()
    room = 1 - c * c
    room = torch.where(room > 1e-6, room, torch.nan)
    a, b = (du - c * dv) / room, (dv - c * du) / room
    total = a.abs() + b.abs()
    return (b / torch.where(total > 0, total, torch.nan)).float()


def hedging(
    latent: Float[Tensor, " token"],
    decoder: Float[Tensor, " d_model"],
    concept: int,
    others: list[int],
    labels: Bool[Tensor, "token label"],
    directions: Float[Tensor, "label d_model"],
    association: Float[Tensor, "label label"],
) -> list[Hedging]:
    """Measures how much of each of `others` the latent of `concept` holds.

    `latent` is its activation on the labelled tokens; `directions` (from `own_directions`) and `association`
    (from `associations`) come from other tokens than these if the results are to be held out.
    """
    if not others:
        return []
    share = signed_shares(decoder, directions[concept], directions[others])
    mine = labels[:, concept]
    found = []
    for place, other in enumerate(others):
        alone, apart = mine & ~labels[:, other], labels[:, other] & ~mine
        usual = float(latent[alone].float().mean())
        response = float(latent[apart].float().mean()) / usual if usual > 0 else float("nan")
        found.append(Hedging(float(share[place]), float(association[concept, other]), response))
    return found
