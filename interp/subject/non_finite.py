"""Detects numbers that are not finite after every forward pass, and finds where they begin."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import UserError
from interp.subject.backend import Backend
from interp.subject.forward import ForwardPass
from interp.subject.hooks import Hook
from interp.subject.site import Site


def is_finite(activation: Float[Tensor, "batch pos *width"], forward: ForwardPass) -> Bool[Tensor, ""]:
    """Whether an activation is finite at every real token of a pass."""
    wide = torch.promote_types(activation.dtype, torch.float32)  # in which sums of finite numbers stay finite
    return _at_real(activation.detach().flatten(2).sum(-1, dtype=wide), forward)


def are_possible(logits: Float[Tensor, "batch kept d_vocab"], forward: ForwardPass) -> Bool[Tensor, ""]:
    """Whether the largest logit is finite at every real token of a pass, or at every one that was kept.

    Others may be minus infinity, for tokens that never occur.
    """
    return _at_real(logits.detach().amax(-1), forward)


def first_not_finite(
    backend: Backend, sites: Sequence[Site], forward: ForwardPass, compute: Callable[[], Any]
) -> Site | None:
    """Finds the first site, in the order of a pass, whose activation is not finite."""
    found: list[Site] = []

    def look(site: Site) -> Hook:
        def see(activation: Tensor) -> None:
            if not found and not is_finite(activation, forward):
                found.append(site)

        return see

    with ExitStack() as hooks:
        for site in sites:
            hooks.enter_context(backend.attached(site, look(site)))
        compute()
    return found[0] if found else None


def not_finite(what: str, dtype: torch.dtype, name: str) -> UserError:
    """Makes the error for what is not finite; `what` begins the sentence, with its verb."""
    if dtype == torch.float16:
        fix = "use dtype bfloat16 or float32: float16 holds no number above 65504"
    else:
        fix = "check the weights, and what is written by interventions"
    return UserError(f"{what} not finite in {str(dtype)[6:]}", f"model {name}", fix)


def _at_real(values: Float[Tensor, "batch kept"], forward: ForwardPass) -> Bool[Tensor, ""]:
    real = forward.real[:, forward.start :]
    finite = values.isfinite()
    return (finite if finite.shape != real.shape else finite | ~real).all()
