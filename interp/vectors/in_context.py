"""In-context vectors: one direction through all layers, from plain texts to texts as desired.

Liu et al. 2023, "In-context Vectors" (arXiv 2311.06668).
"""

from collections.abc import Sequence

import torch

from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.vectors.contrastive import Pair, PairReadings, read_pairs
from interp.vectors.vector import Vector


def in_context_vectors(
    subject: Subject, pairs: Sequence[Pair], name: str, readings: PairReadings | None = None
) -> list[Vector]:
    """Makes one vector of length 1 for each layer, used together; the coefficient is lambda (paper: 0.1).

    The last token's `resid_post` of all layers is concatenated; the direction is the mean difference plus the
    first principal component, of length 1, of the centred differences. Differences are far longer than 1, so
    the mean dominates and the component's arbitrary sign hardly matters: here it points along the mean. Used
    at `mlp_out`, at every position, without a change of norm
    (`AddKeepingNorm`).

    Raises:
        UserError: fewer than two pairs, or no difference in a layer.
    """
    sites = [Site("resid_post", layer) for layer in range(subject.n_layers)]
    read = read_pairs(subject, pairs, sites) if readings is None else readings
    stacked = torch.stack([read.positive[site] - read.negative[site] for site in sites], 1).double()
    differences = stacked.flatten(1)
    mean = differences.mean(0)
    component = torch.linalg.svd(differences - mean, full_matrices=False).Vh[0]
    sign = -1.0 if float(component @ mean) < 0 else 1.0
    direction = (mean + sign * component).view(len(sites), -1)
    if not bool(direction.any(1).all()):
        raise UserError(
            "the sides of all pairs have the same activation in a layer",
            "pairs",
            "give pairs that end differently, or that differ before their end",
        )
    made = {"method": "in-context vector", "pairs": len(pairs)}
    return [
        Vector(name, Site("mlp_out", layer), values, subject.name, "norm_preserving", "all", made)
        for layer, values in enumerate(torch.nn.functional.normalize(direction, dim=1))
    ]
