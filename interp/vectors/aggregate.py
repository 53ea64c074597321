"""Aggregates pairs of activations to one direction: mean, principal component or logistic regression."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError

Aggregate = Literal["mean", "pca", "logistic"]


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
