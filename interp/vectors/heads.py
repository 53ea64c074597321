"""Replaces the outputs of chosen attention heads."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.intervene.edit import PositionEdit
from interp.intervene.positions import Positions
from interp.subject.forward import ForwardPass
from interp.subject.site import Site
from interp.subject.subject import Subject

Head = tuple[int, int]
"""A layer and a head in it, both from 0."""


class ReplaceHeads(PositionEdit):
    """Sets some heads of one layer to the outputs `values` ([d_head] by head); the others stay as they are.

    Raises:
        UserError: the layer or a head does not exist, or a value has another width.
    """

    def __init__(
        self,
        subject: Subject,
        layer: int,
        values: Mapping[int, Float[Tensor, " d_head"]],
        positions: Positions = "last",
    ) -> None:
        site = Site("head_out", layer)
        width = subject.site_width(site)
        check_heads(subject, [(layer, head) for head in values])
        for head, value in values.items():
            if tuple(value.shape) != (width,):
                raise UserError(
                    f"an output of shape {tuple(value.shape)} does not fit head {head}",
                    f"{site}",
                    f"give one of width {width}",
                )
        super().__init__([site], positions)
        self.heads = list(values)
        self.values = torch.stack(list(values.values()))

    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns a copy of `head_out` with the chosen heads replaced."""
        changed = activation.clone()
        changed[:, :, self.heads] = self.values.to(activation)
        return changed


def check_heads(subject: Subject, heads: list[Head]) -> None:
    """Raises UserError if the subject lacks one of the heads."""
    for layer, head in heads:
        if not (0 <= layer < subject.n_layers and 0 <= head < subject.n_heads):
            raise UserError(
                f"there is no head {head} in layer {layer}",
                f"model {subject.name}",
                f"use layers 0 to {subject.n_layers - 1} and heads 0 to {subject.n_heads - 1}",
            )
