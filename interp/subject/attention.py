"""Attention that is blocked: what a mask takes away, and that it is gone."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import UserError
from interp.subject.forward import ForwardPass

Block = Callable[[], Tensor | None]
"""Which keys the queries of the pass under way must not attend to [batch, 1, query, key]; None for none."""


def blocked_in(
    blocked: Bool[Tensor, "batch 1 query key"], forward: ForwardPass
) -> Bool[Tensor, "batch 1 seen seen"] | None:
    """What is blocked in a pass over the prompt, or over it and what was generated, which is left alone.

    None where the prompt is behind a cache: its keys and values are those of the pass that blocked them.
    """
    if forward.start > 0:
        return None
    new = forward.tokens.shape[1] - blocked.shape[-1]
    return torch.nn.functional.pad(blocked, (0, new, 0, new))


def lowered(
    scores: Float[Tensor, "#batch heads query key"], blocked: Bool[Tensor, "batch 1 query key"]
) -> Float[Tensor, "batch heads query key"]:
    """Scores before the softmax, or a mask that is added to them, lowest where they are blocked."""
    return torch.where(blocked, torch.finfo(scores.dtype).min, scores)


def check_pattern(
    pattern: Float[Tensor, "batch head query key"], blocked: Bool[Tensor, "batch 1 query key"], layer: int
) -> None:
    """Holds what a layer did attend to against what is blocked.

    Raises:
        UserError: a query is left with nothing to attend to, a sliding window counted, or still attends to
            what is blocked.
    """
    leaks = (pattern.masked_fill(~blocked, 0) > 0).any(-1)
    # where every score is the lowest number, a softmax gives each key alike, in sight or not
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
