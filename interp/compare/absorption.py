"""Feature absorption: tokens of a concept on which its own latents are silent and another replaces them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FULL_COSINE = 0.025
"""Least cosine of the absorbing latent with the probe, for full absorption."""
SHARED_COSINE = 0.1
"""Least cosine with the probe of each latent that may absorb a part."""
LEAST_SHARE = 0.4
"""Least share of the probe's projection that the absorbing latents contribute."""
MOST_ABSORBING = 3
"""The largest number of latents that may absorb together."""


@dataclass(frozen=True)
class Absorption:
    """How much of a concept is absorbed on each of its tokens.

    `full` says where absorption is complete, `fraction` how much of the probe's projection is absorbed, and
    `absorbing` which latent projects most onto the probe there.
    """

    full: Bool[Tensor, " token"]
    fraction: Float[Tensor, " token"]
    absorbing: tuple[int, ...]


def absorption(
    projection: Float[Tensor, " token"],
    latents: Float[Tensor, "token latent"],
    decoder: Float[Tensor, "latent d_model"],
    probe: Float[Tensor, " d_model"],
    main: Sequence[int],
    silent: float | int = 0.0,
) -> Absorption:
    """Computes SAEBench's absorption measures (Karvonen et al. 2025, after Chanin et al. 2024, 2409.14507).

    Every token must carry the concept, and the probe must find it. With p the probe's direction, of length
    1, latent j's projection is `latents[:, j] * decoder[j] . p` and its cosine cos(decoder[j], p).

    Full absorption: every `main` latent is silent (at most `silent`), the token's projection is positive, and
    the latent with the largest projection has a cosine of at least `FULL_COSINE` and a projection of at
    least `LEAST_SHARE` of the token's.

    Fraction: the absorbers are the (at most `MOST_ABSORBING`) other latents with the largest positive
    projections among those of cosine at least `SHARED_COSINE`; A is their sum, M that of the main latents, T
    the token's. It is 0 if M >= T or A < `LEAST_SHARE` T, 1 if M <= 0 otherwise, else a / (a + M) with
    a = min(A, T - M).

    Give `projection` from the mean activation, which the decoder's bias stands for; SAEBench takes it from
    zero, and takes decoder rows to be of length 1.
    """
    unit = torch.nn.functional.normalize(probe, dim=0)
    along = decoder @ unit
    cosine = along / decoder.norm(dim=1).clamp(min=1e-12)
    projected = latents.float() * along
    is_main = torch.zeros(len(decoder), dtype=torch.bool)
    is_main[list(main)] = True
    top = projected.max(1)
    full = (
        (latents[:, is_main] <= silent).all(1)
        & (projection > 0)
        & (cosine[top.indices] >= FULL_COSINE)
        & (top.values >= LEAST_SHARE * projection)
    )
    able = ~is_main & (cosine >= SHARED_COSINE)
    others = projected.where(able, torch.tensor(0.0)).clamp(min=0)
    absorbed = others.topk(min(MOST_ABSORBING, others.shape[1]), dim=1).values.sum(1)
    own = projected[:, is_main].sum(1)
    part = torch.minimum(absorbed, projection - own)
    fraction = torch.where(own <= 0, torch.ones_like(part), part / (part + own))
    none = (own >= projection) | (absorbed < LEAST_SHARE * projection) | (projection <= 0)
    return Absorption(full, fraction.clamp(0, 1).masked_fill(none, 0.0), tuple(top.indices.tolist()))
