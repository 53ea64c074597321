"""The values that an intervention writes: the same everywhere, or one for each position of a prompt."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.subject.forward import ForwardPass

Number = float | int


class Values:
    """A number, values [*width] for every position, or values [batch, pos, *width] for those of a prompt.

    Raises:
        UserError: the values have none of these shapes.
    """

    def __init__(self, value: Number | Sequence[Number] | Tensor, width: tuple[int, ...], place: str) -> None:
        tensor = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64)
        self.tensor = tensor if tensor.is_floating_point() else tensor.double()
        self.width = width
        self.place = place
        self.by_position = self.tensor.ndim == len(width) + 2
        shape = tuple(self.tensor.shape)
        if shape not in ((), width) and not (self.by_position and shape[2:] == width):
            raise UserError(
                f"values of shape {shape} do not fit what has shape {width}",
                place,
                f"give one number, values of shape {width}, or [batch, pos, {', '.join(map(str, width))}]",
            )

    def check(self, forward: ForwardPass) -> None:
        """Raises UserError if values for each position have another shape than the prompts."""
        shape = (len(forward.tokens), forward.prompt_length)
        if self.by_position and tuple(self.tensor.shape[:2]) != shape:
            raise UserError(
                f"values for {tuple(self.tensor.shape[:2])} positions do not fit prompts of shape {shape}",
                self.place,
                "give them the shape of the tokens, padding included",
            )

    def of(self, forward: ForwardPass, activation: Tensor) -> Float[Tensor, "batch pos *width"]:
        """The values for a pass, in their own float type. Behind a prompt, values by position are zero."""
        batch, n_new = activation.shape[:2]
        value = self.tensor.to(activation.device)
        if not self.by_position:
            return value.expand(batch, n_new, *self.width)
        missing = forward.tokens.shape[1] - value.shape[1]
        if missing > 0:
            value = torch.cat([value, value.new_zeros(batch, missing, *self.width)], 1)
        return value[:, forward.start :]
