"""Directions in activation space as a feature space, and the random ones that serve as a baseline."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.site import RESIDUAL_KINDS, Site
from interp.subject.subject import Subject


class Directions:
    """Named directions at a site that lies in the residual stream's space; a feature is a projection.

    `vectors` is [n_features, d_model]; rows are normalised to length 1. Directions may overlap: writing
    some of them makes the smallest change of the activation that gives these projections these values.

    Raises:
        UserError: the site is not in the residual stream's space, or the vectors have another width.
    """

    signed = True

    def __init__(
        self, subject: Subject, name: str, site: Site, vectors: Float[Tensor, "feature d_model"]
    ) -> None:
        if site.kind not in RESIDUAL_KINDS:
            raise UserError(
                f"directions cannot stand at {site}",
                f"directions {name}",
                f"use {', '.join(RESIDUAL_KINDS)}",
            )
        width = subject.site_width(site)
        if vectors.shape[1] != width:
            raise UserError(
                f"directions of width {vectors.shape[1]} do not fit {site}, which is {width} wide",
                f"directions {name}",
                f"give vectors of width {width}",
            )
        self.name = f"directions.{name}"
        self.site = site
        self.n_features = vectors.shape[0]
        self.vectors = torch.nn.functional.normalize(vectors.to(subject.device, subject.dtype), dim=-1)

    def __repr__(self) -> str:
        return f"Directions({self.name}: {self.n_features:,} features at {self.site})"

    def encode(self, activation: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feature"]:
        """Projects the activation on each direction."""
        return activation @ self.vectors.T

    def write(
        self,
        activation: Float[Tensor, "*batch d_model"],
        feature_ids: Int[Tensor, " feature"],
        values: Float[Tensor, "*batch feature"],
    ) -> Float[Tensor, "*batch d_model"]:
        """Moves the activation within the span of these directions until their projections are `values`."""
        missing = values.to(activation.dtype) - self.encode(activation)[..., feature_ids]
        chosen = self.vectors[feature_ids]
        wide = torch.promote_types(chosen.dtype, torch.float32)  # half precision has no pseudo-inverse
        inverse: Tensor = torch.linalg.pinv(chosen.to(wide)).to(chosen.dtype)
        return activation + missing @ inverse.T

    def decoder(self, feature_ids: Int[Tensor, " feature"]) -> Float[Tensor, "feature d_model"]:
        """The unit vectors themselves."""
        return self.vectors[feature_ids]

    def pull_back(
        self, activation: Float[Tensor, "*batch d_model"], gradient: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch feature"]:
        """Projects the gradient on each direction, as if it were the only one (directions may overlap)."""
        return gradient @ self.vectors.to(gradient.dtype).T


def random_directions(subject: Subject, site: Site, n_features: int, seed: int) -> Directions:
    """Draws isotropic random directions: the baseline that any found feature has to beat."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n_features, subject.site_width(site), generator=generator)
    return Directions(subject, f"random.{site}", site, vectors)
