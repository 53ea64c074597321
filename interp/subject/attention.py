"""Blocked attention: lowers scores by a mask, and checks that the attention is gone."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import UserError
from interp.subject.forward import ForwardPass

Block = Callable[[], Tensor | None]
"""Keys that queries of the current pass must not attend to [batch, 1, query, key]; None if there are none."""


def blocked_in(
    blocked: Bool[Tensor, "batch 1 query key"], forward: ForwardPass
) -> Bool[Tensor, "batch 1 new seen"] | None:
    """Extends the mask of blocked attention from the prompt to a pass; generated tokens are left alone.

    None where all of the prompt is cached: its keys and values come from the passes that blocked them.
    """
    if forward.start >= blocked.shape[-1]:
        return None
    new = forward.tokens.shape[1] - blocked.shape[-1]
    return torch.nn.functional.pad(blocked, (0, new, 0, new))[:, :, forward.start :]


def lowered(
    scores: Float[Tensor, "#batch heads query key"], blocked: Bool[Tensor, "batch 1 query key"]
) -> Float[Tensor, "batch heads query key"]:
    """Sets scores before the softmax (or a mask that is added to them) to the lowest number where blocked."""
    return torch.where(blocked, torch.finfo(scores.dtype).min, scores)


def check_pattern(
    pattern: Float[Tensor, "batch head query key"], blocked: Bool[Tensor, "batch 1 query key"], layer: int
) -> None:
    """Checks a layer's attention pattern against what is blocked.

    Raises:
        UserError: a query is left with nothing to attend to (also by a sliding window), or still attends to
            what is blocked.
    """
    leaks = (pattern.masked_fill(~blocked, 0) > 0).any(-1)
    # where every score is the lowest number, a softmax gives every key the same weight
    alike = ((pattern == 0) | (pattern == pattern.amax(-1, keepdim=True))).all(-1)
    nothing = pattern.masked_fill(blocked, 0).sum(-1) == 0
    emptied = blocked.any(-1) & (nothing | (leaks & alike))
    if bool(emptied.any()):
        query = int(emptied.nonzero()[0, -1]) - pattern.shape[-2]
        raise UserError(
            f"position {query} would be left with nothing to attend to in layer {layer}",
            "knockout",
            "block fewer keys: a layer with a sliding window sees the latest ones only",
        )
    if bool(leaks.any()):
        raise UserError(
            f"attention of layer {layer} does not obey its mask, so nothing can be blocked in it",
            "knockout",
            "use another architecture, or the other backend if it builds this one",
        )
