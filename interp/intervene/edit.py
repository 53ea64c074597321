"""What every intervention does: change the activation at some sites, at some positions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import UserError
from interp.intervene.positions import Positions, check_positions, chosen
from interp.intervene.values import Values
from interp.subject.forward import ForwardPass
from interp.subject.site import Site


class PositionEdit(ABC):
    """Changes the activation at some sites, at some positions; all else stays as it was, to the bit.

    Values `by_position` are written at positions of the prompt only.

    Raises:
        UserError: values by position are to be written at generated positions only.
    """

    def __init__(self, sites: Sequence[Site], positions: Positions, given: Values | None = None) -> None:
        generated = isinstance(positions, str) and positions == "generated"
        if generated and given is not None and given.by_position:
            raise UserError(
                "values for the positions of a prompt reach no generated one",
                given.place,
                "use other positions, or one value for every position",
            )
        self.sites = tuple(sites)
        self.positions = positions
        self.given = given

    def check(self, forward: ForwardPass) -> None:
        """Raises UserError if a text lacks a position, or values by position do not fit the prompts."""
        check_positions(self.positions, forward)
        if self.given is not None:
            self.given.check(forward)

    def apply(self, activation: Tensor, site: Site, forward: ForwardPass) -> Tensor:
        """Returns the activation, changed at the chosen positions."""
        prompt_only = self.given is not None and self.given.by_position
        where = chosen(self.positions, forward, prompt_only)
        return (
            activation
            if where is False
            else at_positions(where, self.edited(activation, forward), activation)
        )

    @abstractmethod
    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns the activation changed at every position; `apply` keeps the chosen ones."""


def at_positions(
    where: Bool[Tensor, "batch pos"] | bool,
    edited: Float[Tensor, "batch pos *width"],
    activation: Float[Tensor, "batch pos *width"],
) -> Float[Tensor, "batch pos *width"]:
    """`edited` at the chosen positions, `activation` elsewhere, to the bit."""
    if isinstance(where, bool):
        return edited if where else activation
    return torch.where(where.view(*where.shape, *[1] * (activation.ndim - 2)), edited, activation)


def with_norm_of(
    old: Float[Tensor, "*batch width"], moved: Float[Tensor, "*batch width"]
) -> Float[Tensor, "*batch width"]:
    """`moved`, scaled to the Euclidean norm of `old` at each position; zero stays zero."""
    smallest = torch.finfo(moved.dtype).tiny ** 0.5  # division by `tiny` itself overflows
    norm = moved.norm(dim=-1, keepdim=True).clamp(min=smallest)
    scaled: Tensor = moved * (old.norm(dim=-1, keepdim=True) / norm)
    return scaled
