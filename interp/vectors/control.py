"""Random vectors like a found one: the null that any vector has to beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.corpus.questions import Question
from interp.subject.read_at import Tokens, read_at
from interp.subject.site import Site, SiteKind
from interp.subject.subject import Subject
from interp.vectors.sweep import Setting, best_layer, sweep
from interp.vectors.vector import Vector

Drawn = Literal["isotropic", "activations"]
VECTOR_SITES: tuple[SiteKind, ...] = ("resid_pre", "resid_post", "mlp_out", "head_out")
"""The kinds of site at which vectors act: refusal directions before a layer, others after it or inside."""


@dataclass(frozen=True, eq=False)
class Control:
    """Draws `draws` random vectors in the place of each of a method's own.

    They point in all directions alike, or, with `activations` [text, *width] by site, vary as those do. In a
    model whose residual stream is much longer in some directions than in others, a vector that points in all
    directions alike does more harm than one of the same length that was found among activations: a null that
    is easily beaten.
    """

    seed: int = 0
    draws: int = 0
    activations: Mapping[Site, Float[Tensor, " text *width"]] | None = None

    @classmethod
    def of(cls, subject: Subject, drawn: Drawn, texts: Sequence[Tokens], seed: int, draws: int) -> "Control":
        """Makes a control; one drawn as "activations" vary reads them at the ends of `texts`."""
        if drawn == "isotropic":
            return cls(seed, draws)
        sites = [Site(kind, layer) for kind in VECTOR_SITES for layer in range(subject.n_layers)]
        return cls(seed, draws, {site: read[:, 0] for site, read in read_at(subject, texts, sites).items()})

    def like(self, vectors: Sequence[Vector], draw: int) -> list[Vector]:
        """Draws one random vector for each of `vectors`."""
        known = self.activations
        return [
            random_like(vector, self.seed + draw, None if known is None else known[vector.site])
            for vector in vectors
        ]


def random_like(
    vector: Vector, seed: int, activations: Float[Tensor, " text *width"] | None = None
) -> Vector:
    """Draws a random direction for the same site and use, at the same norm (of each head).

    Isotropic, or, with `activations` of the site, normally distributed with their covariance: around their
    mean where the vector replaces an activation, around zero where it changes one.
    """
    generator = torch.Generator().manual_seed(seed)
    if activations is None:
        drawn = torch.randn(vector.values.shape, generator=generator)
    else:
        mean, weights = activations.mean(0), torch.randn(len(activations), generator=generator)
        drawn = torch.tensordot(weights, activations - mean, dims=1) / len(activations) ** 0.5
        if vector.use == "replace":
            drawn = mean + drawn
    scale = vector.values.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)
    made = {"method": "random", "seed": seed, "norm_of": vector.name}
    return replace(vector, name=f"random {seed}", values=drawn * scale, provenance=made)


def best_random(
    subject: Subject,
    questions: Sequence[Question],
    vectors: Sequence[Vector],
    strengths: Sequence[float],
    control: Control,
) -> list[Vector]:
    """Draws random vectors like those of every layer, each at its own best layer and strength.

    Best is by right answers to `questions`, as for a method itself; nothing is reported on these.
    """
    found = []
    for draw in range(control.draws):
        nulls = control.like(vectors, draw)
        settings = [
            Setting("random", f"layer {layer}", layer, strength, (null.intervention(subject, strength),))
            for layer, null in enumerate(nulls)
            for strength in strengths
        ]
        layer, strength = best_layer(sweep(subject, questions, settings))
        found.append(strength * nulls[layer])
    return found
