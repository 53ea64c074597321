"""Ways to steer towards a concept at a factor, all in units of what its latent adds at its maximum."""

import torch

from interp.causal.change import clamps
from interp.causal.steering.targets import SteeringTarget
from interp.causal.steering.turned import Turned
from interp.errors import UserError
from interp.intervene import Add, AddVector, Clamp, Positions
from interp.subject.forward import Intervention
from interp.subject.subject import Subject

LATENT, ADDED, DIFFERENCE, NEURONS = "latent", "latent added", "difference in means", "neurons"
RANDOM_LATENT, RANDOM_DIRECTION = "random latent", "random direction"
PROMPT, NONE = "prompt", "none"
METHODS = (LATENT, ADDED, DIFFERENCE, NEURONS, RANDOM_LATENT, RANDOM_DIRECTION)
"""Methods with a factor; `PROMPT` and `NONE` have none."""
CONTROLS = (RANDOM_LATENT, RANDOM_DIRECTION)
"""Methods that are random, and drawn more than once."""

Number = float | int


def steering(
    subject: Subject,
    target: SteeringTarget,
    method: str,
    factor: Number,
    positions: Positions = "all",
    draw: int = 0,
) -> list[Intervention]:
    """The interventions of one method at a factor.

    - `latent`: x + SAE(x with the latent set to factor times its maximum) - SAE(x): the error term is kept
      (Templeton et al. 2024, "Scaling Monosemanticity", whose Golden Gate factor is 10);
    - `latent added`: the same amount on top of what the latent does already;
    - `difference in means`: that vector, at the norm of what the latent adds;
    - `neurons`: every neuron held at factor times its extreme on the side that is meant;
    - `random latent`, `random direction`: at every position a change of the same norm as that of `latent`,
      along another latent's decoder row, or along an isotropic direction.

    Raises:
        UserError: there is no such method.
    """
    space, site = target.latent.space, target.latent.space.site
    clamp = Clamp(space, target.latent.feature_id, factor * target.largest, positions)
    if method == LATENT:
        return [clamp]
    if method == ADDED:
        return [Add(space, target.latent.feature_id, factor * target.largest, positions)]
    if method == DIFFERENCE:
        unit = target.difference / target.difference.norm()
        return [AddVector(subject, site, unit, factor * target.unit, positions)]
    if method == NEURONS:
        return list(clamps(target.neurons, factor * target.neuron_largest, positions))
    if method == RANDOM_LATENT:
        row = space.decoder(torch.tensor([target.random_latents[draw]]))[0]
        return [Turned(clamp, row)]
    if method == RANDOM_DIRECTION:
        return [Turned(clamp, target.random_directions[draw])]
    raise UserError(f"there is no steering method {method!r}", "methods", f"use {', '.join(METHODS)}")
