"""A control for a change of an activation: of the same norm, in another direction."""

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.intervene.edit import PositionEdit
from interp.subject.forward import ForwardPass
from interp.subject.site import Site


class Turned:
    """Changes the activation by as much as another edit would, along one direction.

    At every position the change has the Euclidean norm of that edit's own: x + |edit(x) - x| u, with u the
    direction [width] at unit length. Where the edit does nothing, neither does this.

    Raises:
        UserError: the edit acts at several sites, or the direction is zero or not finite.
    """

    def __init__(self, edit: PositionEdit, direction: Float[Tensor, " width"]) -> None:
        norm = float(direction.norm())
        if len(edit.sites) != 1 or not 0 < norm < float("inf"):
            raise UserError(
                "a change can be turned at one site, into a direction that is not zero",
                "Turned",
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
