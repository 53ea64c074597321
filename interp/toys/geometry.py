"""How features share dimensions: the measures of Elhage et al. (2022) on a matrix of feature rows."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

REPRESENTED = 0.5
"""A feature of at least this length counts as represented; trained lengths are near 0 or near 1."""

GEOMETRIES: Mapping[str, float] = {
    "a dimension each": 1.0,
    "tetrahedron": 3 / 4,
    "triangle": 2 / 3,
    "digon": 1 / 2,
    "pentagon": 2 / 5,
    "square antiprism": 3 / 8,
}
"""Dimensions per feature of regular arrangements: the solid's dimensions over its number of corners."""


def lengths(W: Float[Tensor, "*model feature hidden"]) -> Float[Tensor, "*model feature"]:
    """||W_i||: how strongly each feature is represented."""
    return W.square().sum(-1).sqrt()


def represented(W: Float[Tensor, "*model feature hidden"]) -> Bool[Tensor, "*model feature"]:
    """Which features have a length of at least `REPRESENTED`."""
    return lengths(W) >= REPRESENTED


def gram(W: Float[Tensor, "*model feature hidden"]) -> Float[Tensor, "*model feature feature"]:
    """W_i . W_j: what a unit of feature j adds to the readout of feature i (the paper's W^T W)."""
    return W @ W.transpose(-1, -2)


def superposition(W: Float[Tensor, "*model feature hidden"]) -> Float[Tensor, "*model feature"]:
    """sum over j != i of (W^_i . W_j)^2: how much of the other features lies on each feature's direction.

    W^_i is W_i made a unit vector; 0 for a feature of no length.
    """
    return _overlap(W) - lengths(W).square()


def dimensionality(W: Float[Tensor, "*model feature hidden"]) -> Float[Tensor, "*model feature"]:
    """D_i = ||W_i||^2 / sum_j (W^_i . W_j)^2: the share of a dimension that each feature has to itself.

    NaN for a feature of no length.
    """
    return lengths(W).square() / _overlap(W)


def dimensions_per_feature(W: Float[Tensor, "*model feature hidden"]) -> Float[Tensor, "*model"]:
    """D* = m / ||W||_F^2: hidden dimensions for each represented feature (whose length is near 1)."""
    return W.shape[-1] / W.square().sum((-2, -1))


def angle_gaps(W: Float[Tensor, "feature 2"]) -> Float[Tensor, " gap"]:
    """Degrees between neighbouring represented features of a model of two dimensions; they sum to 360."""
    kept = W[represented(W)]
    angles = torch.rad2deg(torch.atan2(kept[:, 1], kept[:, 0])).sort().values
    return torch.diff(angles, append=angles[:1] + 360)


def _overlap(W: Float[Tensor, "*model feature hidden"]) -> Float[Tensor, "*model feature"]:
    """sum over j of (W^_i . W_j)^2, the feature itself included."""
    norms = lengths(W)
    units = W / norms.clamp(min=torch.finfo(W.dtype).tiny)[..., None]
    return (units @ W.transpose(-1, -2)).square().sum(-1)
