"""Ways to steer towards a concept at a factor, all in units of what its latent adds at its maximum."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.causal.change import clamps
from interp.causal.steering.turned import Turned
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace
from interp.intervene import Add, AddVector, Clamp, Positions
from interp.mining.mined import MinedSpaces
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


@dataclass(frozen=True, eq=False)
class Aim:
    """What can be done about one concept.

    `latent` tells the concept best; `largest` is its maximum on the explain split, and `unit` the norm of
    what it then adds to the activation. `difference` [width] is the difference in means, `neurons` are a set
    that stands for the concept, with `neuron_largest` [neuron] their extremes, signed as they are.
    `random_latents` are ids, `random_directions` [draw, width]; each draw is a control of its own.
    """

    concept: str
    latent: FeatureRef
    largest: float
    unit: float
    difference: Float[Tensor, " width"]
    neurons: Sequence[FeatureRef]
    neuron_largest: Float[Tensor, " neuron"]
    random_latents: Sequence[int]
    random_directions: Float[Tensor, "draw width"]


def steering(
    subject: Subject,
    aim: Aim,
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
    space, site = aim.latent.space, aim.latent.space.site
    clamp = Clamp(space, aim.latent.feature_id, factor * aim.largest, positions)
    if method == LATENT:
        return [clamp]
    if method == ADDED:
        return [Add(space, aim.latent.feature_id, factor * aim.largest, positions)]
    if method == DIFFERENCE:
        unit = aim.difference / aim.difference.norm()
        return [AddVector(subject, site, unit, factor * aim.unit, positions)]
    if method == NEURONS:
        return list(clamps(aim.neurons, factor * aim.neuron_largest, positions))
    if method == RANDOM_LATENT:
        row = space.decoder(torch.tensor([aim.random_latents[draw]]))[0]
        return [Turned(clamp, row)]
    if method == RANDOM_DIRECTION:
        return [Turned(clamp, aim.random_directions[draw])]
    raise UserError(f"there is no steering method {method!r}", "methods", f"use {', '.join(METHODS)}")


def largest_of(mined: MinedSpaces, feature: FeatureRef) -> float:
    """A feature's largest activation on the explain split, on the side that is meant (without its sign).

    What `Clamp(latents, latent, 10 * largest_of(mined, feature))` holds a latent at ten times of.

    Raises:
        UserError: its space was not mined.
    """
    found = mined[feature.space.name].exemplars["explain"]
    return float(found.top_value[found.line(feature.feature_id, 1 if feature.polarity > 0 else -1), 0])


def added_norm(
    space: FeatureSpace, feature_id: int, amount: Number, activation: Float[Tensor, "token width"]
) -> float:
    """The mean norm of the change when a feature does `amount` more than it does on these activations.

    For a latent without run-time normalisation: `amount` times the norm of its decoder row.
    """
    ids = torch.tensor([feature_id])
    value = space.encode(activation)[..., [feature_id]] + amount
    change = space.write(activation, ids, value) - activation
    return float(change.float().norm(dim=-1).mean())


def random_latents(alive: Sequence[int], chosen: int, count: int, seed: int) -> list[int]:
    """Random latents that are alive and not the chosen one, none twice.

    Raises:
        UserError: there are not enough.
    """
    free = [latent for latent in alive if latent != chosen]
    if len(free) < count:
        raise UserError(f"only {len(free)} other latents are alive", "controls", "ask for fewer controls")
    order = torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))[:count]
    return [free[place] for place in order.tolist()]
