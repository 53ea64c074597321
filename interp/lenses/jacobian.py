"""Rows of Jacobians by batched vector-Jacobian products, from one graph of a forward pass."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.subject.subject import Subject

DIRECTIONS_PER_PASS = 32  # rows of the Jacobian that one backward pass computes


def jacobian_rows(
    subject: Subject, outputs: Float[Tensor, "n d_model"], inputs: Sequence[Tensor]
) -> Iterator[tuple[Float[Tensor, " direction *input"], ...]]:
    """Differentiates each coordinate of the sum of the outputs with respect to every input.

    Yields the coordinates in order, `DIRECTIONS_PER_PASS` at a time: one tensor for each input.

    Raises:
        UserError: the outputs have no gradient with respect to an input on this backend.
    """
    basis = torch.eye(outputs.shape[-1], device=outputs.device, dtype=outputs.dtype)
    for directions in torch.split(basis, DIRECTIONS_PER_PASS):
        rows: tuple[Tensor | None, ...] = (None,)
        if outputs.requires_grad:
            cotangents = directions[:, None].expand(-1, len(outputs), -1)
            rows = torch.autograd.grad(
                outputs, inputs, cotangents, retain_graph=True, is_grads_batched=True, allow_unused=True
            )
        found = tuple(row for row in rows if row is not None)
        if len(found) < len(inputs):
            raise UserError(
                "activations of the last layer have no gradient with respect to earlier ones",
                f"model {subject.name}, backend {subject.backend}",
                "use the other backend, if it builds this architecture",
            )
        yield found
