"""Random vectors like a found one: the null that any vector has to beat."""

from dataclasses import replace

import torch

from interp.vectors.vector import Vector


def random_like(vector: Vector, seed: int) -> Vector:
    """An isotropic random direction at the same site, as long (each head is, at `head_out`), used alike."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(vector.values.shape, generator=generator)
    scale = vector.values.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)
    made = {"method": "random", "seed": seed, "norm_of": vector.name}
    return replace(vector, name=f"random {seed}", values=drawn * scale, provenance=made)
