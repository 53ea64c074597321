"""Adding a direction to an activation without changing its norm: how in-context vectors are applied."""

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.intervene.edit import PositionEdit, with_norm_of
from interp.intervene.positions import Positions
from interp.intervene.values import Number
from interp.subject.forward import ForwardPass
from interp.subject.site import Site
from interp.subject.subject import Subject


class AddKeepingNorm(PositionEdit):
    """x becomes |x| n(n(x) + (1 + max(0, -cos(x, v))) * strength * v), n(.) being normalisation.

    The further an activation points away from the vector, the more is added; a vector of length 1 at strength
    1 weighs as much as the activation itself. After Liu et al. 2023 (In-Context Vectors, arXiv 2311.06668) as
    their code has it, for a vector of length 1; in single precision or wider.

    Raises:
        UserError: the site does not exist, the vector does not fit it, or is not finite.
    """

    def __init__(
        self,
        subject: Subject,
        site: Site,
        vector: Float[Tensor, "*shape"],
        strength: Number = 1.0,
        positions: Positions = "all",
    ) -> None:
        shape = subject.activation_shape(site)
        if tuple(vector.shape) != shape:
            raise UserError(
                f"a vector of shape {tuple(vector.shape)} does not fit {site}",
                "AddKeepingNorm",
                f"give one of shape {shape}",
            )
        if not bool(torch.isfinite(vector).all()):
            raise UserError("the vector is not finite", f"vector added at {site}", "leave it out")
        super().__init__([site], positions)
        self.vector = vector.float()
        self.strength = strength

    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns the activation turned towards the vector, at its old norm."""
        wide = activation.to(torch.promote_types(activation.dtype, torch.float32))
        vector = self.vector.to(wide)
        away = (-torch.nn.functional.cosine_similarity(wide, vector, dim=-1)).clamp(min=0)
        added = (1 + away)[..., None] * self.strength * vector
        moved = torch.nn.functional.normalize(wide, dim=-1) + added
        return with_norm_of(wide, moved).to(activation.dtype)
