"""Ways to steer towards a concept; a factor of 1 is what the concept's latent adds at its maximum."""

import torch
from jaxtyping import Float
from torch import Tensor

from interp.causal.interventions import clamps
from interp.causal.steering.targets import SteeringTarget
from interp.errors import UserError
from interp.features.space import writable
from interp.intervene import Add, AddVector, Clamp, Positions
from interp.intervene.edit import PositionEdit
from interp.subject.forward import ForwardPass, Intervention
from interp.subject.site import Site
from interp.subject.subject import Subject

LATENT, ADDED, DIFFERENCE, NEURONS = "latent", "latent added", "difference in means", "neurons"
RANDOM_LATENT, RANDOM_DIRECTION = "random latent", "random direction"
PROMPT, NONE = "prompt", "none"
METHODS = (LATENT, ADDED, DIFFERENCE, NEURONS, RANDOM_LATENT, RANDOM_DIRECTION)
"""Methods with a factor; `PROMPT` and `NONE` have none."""
CONTROLS = (RANDOM_LATENT, RANDOM_DIRECTION)
"""Random methods, with several draws each."""

Number = float | int


def steering(
    subject: Subject,
    target: SteeringTarget,
    method: str,
    factor: Number,
    positions: Positions = "all",
    draw: int = 0,
) -> list[Intervention]:
    """Makes the interventions of one method at a factor.

    - `latent`: x + SAE(x with the latent set to factor times its maximum) - SAE(x): the error term is kept
      (Templeton et al. 2024, "Scaling Monosemanticity", whose Golden Gate factor is 10);
    - `latent added`: the same amount added to the latent's own activation;
    - `difference in means`: that vector, at the norm of what the latent adds;
    - `neurons`: every neuron held at factor times its extreme in its polarity;
    - `random latent`, `random direction`: at every position a change of the same norm as that of `latent`,
      along another latent's decoder row, or along an isotropic direction.

    Raises:
        UserError: there is no such method, or the latent can only be read.
    """
    space, site = writable(target.latent.space), target.latent.space.site
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
        return [NormMatched(clamp, row)]
    if method == RANDOM_DIRECTION:
        return [NormMatched(clamp, target.random_directions[draw])]
    raise UserError(f"there is no steering method {method!r}", "methods", f"use {', '.join(METHODS)}")


class NormMatched:
    """Changes the activation by as much as another edit would, along one direction.

    At every position the change has the Euclidean norm of the edit's change: x + |edit(x) - x| u, with u the
    direction [width] at unit length. Where the edit does nothing, neither does this.

    Raises:
        UserError: the edit acts at several sites, or the direction is zero or not finite.
    """

    def __init__(self, edit: PositionEdit, direction: Float[Tensor, " width"]) -> None:
        norm = float(direction.norm())
        if len(edit.sites) != 1 or not 0 < norm < float("inf"):
            raise UserError(
                "the edit acts at several sites, or the direction is zero or not finite",
                "NormMatched",
                "give an edit of one site and a finite direction",
            )
        self.sites = edit.sites
        self.edit = edit
        self.direction = direction / norm

    def check(self, forward: ForwardPass) -> None:
        """Raises UserError if the edit is impossible in this pass."""
        self.edit.check(forward)

    def apply(self, activation: Tensor, site: Site, forward: ForwardPass) -> Tensor:
        """The activation, moved along the direction by the norm of the edit's change."""
        change = self.edit.apply(activation, site, forward) - activation
        wide = torch.promote_types(activation.dtype, torch.float32)
        size = change.to(wide).norm(dim=-1, keepdim=True)
        moved: Tensor = activation + (size * self.direction.to(size)).to(activation.dtype)
        return moved
