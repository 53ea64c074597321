"""Forward passes that end in a target: alone, with activations kept, or with gradients too."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.target import Target
from interp.errors import UserError
from interp.subject.forward import ForwardPass, whole_pass
from interp.subject.non_finite import is_finite, not_finite
from interp.subject.passes import Edit
from interp.subject.site import Site
from interp.subject.subject import Subject

Prompts = str | Sequence[str] | Tensor


@dataclass(frozen=True, eq=False)
class Recorded:
    """`value` [batch] of a target, and the activations [batch, pos, ...] at some sites."""

    value: Float[Tensor, " batch"]
    activations: dict[Site, Tensor]


@dataclass(frozen=True, eq=False)
class RecordedGradients(Recorded):
    """Adds the gradients of each prompt's target with respect to its activations, in their shapes."""

    gradients: dict[Site, Tensor]


def laid_out(subject: Subject, prompts: Prompts, mask: Int[Tensor, "batch pos"] | None = None) -> ForwardPass:
    """Makes a pass over prompts: texts are tokenised and padded left, tokens [batch, pos] taken as they are.

    Raises:
        UserError: a word is unknown, a text too long, tokens or mask have the wrong shape, or tokens begin
            with padding and there is no mask.
    """
    if not isinstance(prompts, Tensor):
        tokens, mask = subject.to_batch([prompts] if isinstance(prompts, str) else prompts)
        return whole_pass(tokens, mask)
    if prompts.ndim != 2 or not prompts.numel():
        raise UserError(
            f"tokens of shape {tuple(prompts.shape)} are no prompts", "prompts", "give [batch, pos]"
        )
    subject.check(prompts, mask)
    return whole_pass(prompts.to(subject.device), None if mask is None else mask.to(subject.device))


def select_rows(prompts: ForwardPass, rows: Int[Tensor, " row"]) -> ForwardPass:
    """Selects prompts by row; a row may be repeated."""
    return ForwardPass(prompts.tokens[rows], prompts.real[rows], 0, prompts.prompt_length)


def target_values(subject: Subject, prompts: ForwardPass, target: Target) -> Float[Tensor, " batch"]:
    """Computes the target of each prompt, in the pass that it needs (`Target.asked_of`).

    Raises:
        UserError: before the model runs, the target does not fit.
    """
    target.check(subject, prompts)
    logits = subject.logits_at(
        prompts.tokens, target.columns(prompts), prompts.real.long(), prompts.prompt_length
    )
    return target.measure(logits)


@torch.no_grad()
def record(subject: Subject, prompts: ForwardPass, target: Target, sites: Sequence[Site]) -> Recorded:
    """Runs one forward pass, and keeps the target and the activations at these sites."""
    found: dict[Site, Tensor] = {}

    def keep(site: Site) -> Edit:
        def kept(activation: Tensor) -> Tensor:
            found[site] = activation
            return activation

        return kept

    with subject.edited({site: keep(site) for site in sites}):
        return Recorded(target_values(subject, prompts, target), found)


@torch.enable_grad()
def record_gradients(
    subject: Subject, prompts: ForwardPass, target: Target, sites: Sequence[Site]
) -> RecordedGradients:
    """Runs one forward and one backward pass, and keeps the target, the activations, and the gradients.

    Parameters are frozen, so the graph begins at the first site: nothing is computed for earlier layers or
    for weights. A gradient counts every path from its site to the target, through later sites too; where
    there is none, it is zero.
    """
    found: dict[Site, Tensor] = {}

    def keep(site: Site) -> Edit:
        def kept(activation: Tensor) -> Tensor:
            inside = activation.requires_grad
            found[site] = activation.view_as(activation) if inside else activation.detach().requires_grad_()
            return found[site]

        return kept

    with subject.edited({site: keep(site) for site in sites}):
        value = target_values(subject, prompts, target)
    gradients = gradients_by(value, list(found.values()))
    for site, gradient in zip(found, gradients, strict=True):
        check_gradient(subject, str(site), gradient, prompts)
    return RecordedGradients(
        value.detach(),
        {site: found[site].detach() for site in sites},
        dict(zip(found, gradients, strict=True)),
    )


def check_gradient(
    subject: Subject, what: str, gradient: Float[Tensor, "batch pos *width"], prompts: ForwardPass
) -> None:
    """Raises UserError if a gradient is not finite at a real token (activations may be, all the same)."""
    if not is_finite(gradient, prompts):
        raise not_finite(f"gradients at {what} are", subject.dtype, subject.name)


def gradients_by(value: Float[Tensor, " batch"], tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The gradients of the values' sum with respect to tensors; zero for one that it does not depend on."""
    if not value.requires_grad:
        return [torch.zeros_like(tensor) for tensor in tensors]
    found: Sequence[Tensor] = torch.autograd.grad(
        value.sum(), tensors, allow_unused=True, materialize_grads=True
    )
    return found
