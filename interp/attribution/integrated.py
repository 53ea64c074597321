"""Integrated gradients: gradients averaged on the path from a baseline to the features' own values."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.attribution.baseline import Baseline, Statistics, baselines
from interp.attribution.gradient import without_padding
from interp.attribution.passes import (
    check_gradient,
    gradients_by,
    laid_out,
    record,
    select_rows,
    target_values,
)
from interp.attribution.result import Attribution
from interp.attribution.target import Target
from interp.errors import UserError
from interp.features.space import FeatureSpace
from interp.intervene.edit import at_positions
from interp.intervene.positions import Positions, check_positions, chosen
from interp.subject.forward import ForwardPass
from interp.subject.passes import Edit
from interp.subject.site import SiteKind
from interp.subject.subject import Subject

Path = Literal["joint", "each"]
Rule = Literal["riemann_middle", "endpoints"]

_STREAM: tuple[SiteKind, ...] = ("embed", "resid_pre", "resid_mid", "resid_post")
_OUTPUT_OF: dict[SiteKind, SiteKind] = {"mlp_out": "mlp_post", "attn_out": "head_out"}


def integrated_gradients(
    subject: Subject,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"] | None,
    target: Target,
    spaces: Sequence[FeatureSpace],
    *,
    baseline: Baseline = "zero",
    statistics: Statistics | None = None,
    steps: int = 20,
    rule: Rule = "riemann_middle",
    path: Path = "joint",
    positions: Positions = "all",
    rows_at_once: int = 64,
) -> Attribution:
    """(a_i - b_i) times the mean over alpha of dT/da_i at b + alpha (a - b), for every feature and position.

    Sundararajan et al. 2017 (arXiv 1703.01365, equation 3): with enough steps the attributions add up to
    T(all features as they are) - T(all at the baseline). All of a space's features at the chosen `positions`
    move together, and everything after them is computed anew.

    `path="joint"` moves all spaces together, every step of every prompt a row of one batch (`rows_at_once` at
    a time, which bounds memory). A later space then does not answer to an earlier one, so a feature is
    credited only with what does not pass through them. `path="each"` takes one space after the other, and
    the rest of the model answers, as in captum's `LayerIntegratedGradients`.

    `rule` says where on the path gradients are taken: "riemann_middle" at (k + 1/2) / steps, as in captum;
    "endpoints" at k / (steps - 1), as in the knowledge-neuron code (Dai et al. 2022, arXiv 2104.08696).

    Raises:
        UserError: as for `activation_times_gradient`; a position is past a prompt; or spaces cannot move
            together, since one is at the residual stream or feeds another.
    """
    prompts = target.asked_of(subject, laid_out(subject, tokens, mask))
    based = baselines(spaces, baseline, statistics)
    alphas = _alphas(steps, rule, path, rows_at_once).to(subject.device)
    if path == "joint":
        _check_joint(spaces)
    check_positions(positions, prompts)
    where = chosen(positions, prompts)
    clean = record(subject, prompts, target, list({space.site: None for space in spaces}))
    with torch.no_grad():
        read = {space.name: space.encode(clean.activations[space.site]) for space in spaces}
        based = {name: based[name].to(values) for name, values in read.items()}
    groups = [list(spaces)] if path == "joint" else [[space] for space in spaces]
    means: dict[str, Tensor] = {}
    for group in groups:
        means |= _mean_gradients(subject, prompts, target, group, read, based, alphas, where, rows_at_once)
    return Attribution(
        {name: without_padding((read[name] - based[name]) * means[name], prompts.real) for name in read},
        read,
        prompts.tokens,
        prompts.real.long(),
        target,
        clean.value,
        {space.name: space.site for space in spaces},
        prompts.prompt_length,
        subject,
    )


@torch.enable_grad()
def _mean_gradients(
    subject: Subject,
    prompts: ForwardPass,
    target: Target,
    spaces: Sequence[FeatureSpace],
    read: Mapping[str, Float[Tensor, "batch pos _"]],
    based: Mapping[str, Float[Tensor, " _"]],
    alphas: Float[Tensor, " step"],
    where: Bool[Tensor, "batch pos"] | bool,
    rows_at_once: int,
) -> dict[str, Float[Tensor, "batch pos _"]]:
    """Averages the gradients on the path; a batch has a row for each step of each prompt."""
    batch = len(prompts.tokens)
    totals = {space.name: torch.zeros_like(read[space.name]) for space in spaces}
    for rows in torch.split(torch.arange(len(alphas) * batch, device=alphas.device), rows_at_once):
        prompt, alpha = rows % batch, alphas[rows // batch]
        values = {
            name: torch.lerp(based[name], read[name][prompt], alpha.to(read[name])[:, None, None])
            for name in totals
        }
        here = where if isinstance(where, bool) else where[prompt]
        edits = {space.site: _written(space, values[space.name].requires_grad_(), here) for space in spaces}
        with subject.edited(edits):
            value = target_values(subject, select_rows(prompts, prompt), target.of_rows(prompt))
        for name, gradient in zip(values, gradients_by(value, list(values.values())), strict=True):
            totals[name].index_add_(0, prompt, gradient)
    for name, total in totals.items():
        check_gradient(subject, name, total, prompts)
    return {name: total / len(alphas) for name, total in totals.items()}


def _written(
    space: FeatureSpace, values: Float[Tensor, "row pos feature"], where: Bool[Tensor, "row pos"] | bool
) -> Edit:
    ids = torch.arange(space.n_features, device=values.device)
    return lambda activation: at_positions(where, space.write(activation, ids, values), activation)


def _alphas(steps: int, rule: Rule, path: Path, rows_at_once: int) -> Float[Tensor, " step"]:
    for what, value, possible in (("rule", rule, get_args(Rule)), ("path", path, get_args(Path))):
        if value not in possible:
            raise UserError(f"{value!r} is no {what}", what, f"use one of {', '.join(possible)}")
    if steps < 1 or rows_at_once < 1:
        raise UserError(
            f"steps is {steps}, rows_at_once is {rows_at_once}",
            "integrated gradients",
            "use at least 1 of each",
        )
    return torch.linspace(0, 1, steps) if rule == "endpoints" else (torch.arange(steps) + 0.5) / steps


def _check_joint(spaces: Sequence[FeatureSpace]) -> None:
    """Raises UserError if spaces that move together would overwrite each other's values."""
    sites = [space.site for space in spaces]
    for space in spaces:
        site, fed_by = space.site, _OUTPUT_OF.get(space.site.kind)
        if len(spaces) > 1 and site.kind in _STREAM:
            why = f"{site} is the residual stream, where all earlier features arrive"
        elif sites.count(site) > 1:
            why = f"two spaces are at {site}"
        elif any(other.kind == fed_by and other.layer == site.layer for other in sites):
            why = f"{fed_by}.{site.layer} feeds {site}"
        else:
            continue
        raise UserError(f"these spaces cannot move together: {why}", space.name, 'use path="each"')
