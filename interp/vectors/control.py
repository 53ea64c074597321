"""Random vectors like a found one: the null that any vector has to beat."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from interp.corpus.questions import Question
from interp.subject.subject import Subject
from interp.vectors.sweep import Setting, best_layer, sweep
from interp.vectors.vector import Vector


def random_like(vector: Vector, seed: int) -> Vector:
    """Draws an isotropic random direction for the same site and use, at the same norm (of each head)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(vector.values.shape, generator=generator)
    scale = vector.values.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)
    made = {"method": "random", "seed": seed, "norm_of": vector.name}
    return replace(vector, name=f"random {seed}", values=drawn * scale, provenance=made)


def best_random(
    subject: Subject,
    questions: Sequence[Question],
    vectors: Sequence[Vector],
    strengths: Sequence[float],
    seed: int,
    draws: int,
) -> list[Vector]:
    """Draws random vectors like those of every layer, each at its own best layer and strength.

    Best is by right answers to `questions`, as for a method itself; nothing is reported on these.
    """
    found = []
    for draw in range(draws):
        nulls = [random_like(vector, seed + draw) for vector in vectors]
        settings = [
            Setting("random", f"layer {layer}", layer, strength, (null.intervention(subject, strength),))
            for layer, null in enumerate(nulls)
            for strength in strengths
        ]
        layer, strength = best_layer(sweep(subject, questions, settings))
        found.append(strength * nulls[layer])
    return found
