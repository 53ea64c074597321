"""Contrastive activation addition: the direction from texts without a behaviour to texts with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.subject.read_at import read_at
from interp.subject.site import RESIDUAL_KINDS, Site, SiteKind
from interp.subject.subject import Subject
from interp.vectors.vector import Vector

Aggregate = Literal["mean", "pca", "logistic"]


@dataclass(frozen=True)
class Pair:
    """Two texts, as token ids without a beginning-of-sequence token: one shows a behaviour, one does not."""

    positive: tuple[int, ...]
    negative: tuple[int, ...]

    @classmethod
    def of(cls, subject: Subject, positive: str, negative: str) -> "Pair":
        """Tokenises two texts, without a beginning-of-sequence token."""
        return cls(tuple(subject.encode(positive)), tuple(subject.encode(negative)))


@dataclass(frozen=True, eq=False)
class PairReadings:
    """The activations of both sides of every pair, by site [pair, *width], in single precision.

    Read once, they serve every layer and every way to aggregate.
    """

    positive: dict[Site, Float[Tensor, " pair *width"]]
    negative: dict[Site, Float[Tensor, " pair *width"]]


def read_pairs(
    subject: Subject, pairs: Sequence[Pair], sites: Sequence[Site], position: int = -1
) -> PairReadings:
    """Reads all texts in one padded pass, at a position counted from their ends.

    Raises:
        UserError: fewer than two pairs, or a text is too short for the position.
    """
    if len(pairs) < 2:
        raise UserError(f"{len(pairs)} pairs do not make a direction", "pairs", "give at least two")
    texts = [pair.positive for pair in pairs] + [pair.negative for pair in pairs]
    found = read_at(subject, texts, sites, (position,))
    return PairReadings(
        {site: values[: len(pairs), 0] for site, values in found.items()},
        {site: values[len(pairs) :, 0] for site, values in found.items()},
    )


def contrastive_vectors(
    subject: Subject,
    pairs: Sequence[Pair | tuple[str, str]],
    name: str,
    *,
    how: Aggregate = "mean",
    kind: SiteKind = "resid_post",
    position: int = -1,
    layers: Sequence[int] | None = None,
    readings: PairReadings | None = None,
) -> list[Vector]:
    """Makes one vector for each layer, to be added with a coefficient (Rimsky et al. 2023, arXiv 2312.06681).

    A pair is two texts, the one that shows the behaviour first. `position` -1 reads the last token; where the
    answer is a letter in brackets, the paper reads -2. `how` is that of `aggregate`.
    `readings` are those of the pairs, if they were read already.

    Raises:
        UserError: fewer than two pairs, a kind of site outside the residual stream, or a layer that the
            subject lacks.
    """
    if kind not in RESIDUAL_KINDS:
        raise UserError(
            f"{kind} is not in the residual stream's space", "kind", f"use {', '.join(RESIDUAL_KINDS)}"
        )
    sites = [Site(kind, layer) for layer in (range(subject.n_layers) if layers is None else layers)]
    read = readings
    if read is None:
        asked = [one if isinstance(one, Pair) else Pair.of(subject, *one) for one in pairs]
        read = read_pairs(subject, asked, sites, position)
    made = {"method": f"contrastive, {how}", "pairs": len(pairs), "position": position}
    return [
        Vector(
            name,
            site,
            aggregate(read.positive[site], read.negative[site], how),
            subject.name,
            provenance=made,
        )
        for site in sites
    ]


def aggregate(
    positive: Float[Tensor, "pair width"], negative: Float[Tensor, "pair width"], how: Aggregate = "mean"
) -> Float[Tensor, " width"]:
    """Finds the direction from the negative members of the pairs to the positive ones.

    - `mean`: the mean difference, at its own length (Rimsky et al. 2023, arXiv 2312.06681);
    - `pca`: the first principal direction of the differences and their negatives, that is, uncentred, at
      length 1; its sign is that of the mean projection of the differences;
    - `logistic`: the weights, at length 1, of a logistic regression without intercept between positive and
      negative members, each less the mean of its pair.

    All three as in the `steering-vectors` package. Sums are in double precision.

    Raises:
        UserError: fewer than two pairs, unequal numbers of sides, or sides without any difference.
    """
    if positive.shape != negative.shape or len(positive) < 2:
        raise UserError(
            f"{len(positive)} positive and {len(negative)} negative activations are not two pairs or more",
            "pairs",
            "give at least two pairs, one of each side in every pair",
        )
    differences = positive.double() - negative.double()
    if not bool(differences.any()):
        raise UserError(
            "the two sides of every pair have the same activation",
            "pairs",
            "read a position at which they differ",
        )
    if how == "mean":
        return differences.mean(0).float()
    if how == "pca":
        first: Tensor = torch.linalg.svd(differences, full_matrices=False).Vh[0]
        sign = torch.sign((differences @ first).mean())
        return (first if sign == 0 else sign * first).float()
    return _logistic(positive, negative)


def _logistic(
    positive: Float[Tensor, "pair width"], negative: Float[Tensor, "pair width"]
) -> Float[Tensor, " width"]:
    from sklearn.linear_model import LogisticRegression

    middle = (positive + negative) / 2
    both = torch.cat([positive - middle, negative - middle]).float().numpy()
    labels = [1] * len(positive) + [-1] * len(negative)
    fitted = LogisticRegression(fit_intercept=False).fit(both, labels)
    return torch.nn.functional.normalize(torch.from_numpy(fitted.coef_[0]).float(), dim=0)
