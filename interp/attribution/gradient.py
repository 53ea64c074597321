"""Activation times gradient: a first-order estimate of every feature's effect, in two passes."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.attribution.baseline import Baseline, Statistics, baselines
from interp.attribution.passes import laid_out, record_gradients
from interp.attribution.result import Attribution
from interp.attribution.target import Target
from interp.features.space import FeatureSpace
from interp.subject.subject import Subject


def activation_times_gradient(
    subject: Subject,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"] | None,
    target: Target,
    spaces: Sequence[FeatureSpace],
    *,
    baseline: Baseline = "zero",
    statistics: Statistics | None = None,
) -> Attribution:
    """(a_i - b_i) dT/da_i for every feature i of every space at every position, in one forward and backward.

    The estimate, to first order, of T(clean) - T(a_i set to b_i) (Shrikumar et al. 2017, arXiv 1605.01713;
    as an estimate of ablation: Kramar et al. 2024, AtP*, arXiv 2403.00745). The gradient with
    respect to a feature is its space's `pull_back`: an SAE's error and all other features are held. It counts
    every path to the target, through later layers too. Interventions that are active are part of the model.

    Raises:
        UserError: the target does not fit, a space is named twice, or a mean baseline lacks statistics.
    """
    prompts = target.asked_of(subject, laid_out(subject, tokens, mask))
    based = baselines(spaces, baseline, statistics)
    found = record_gradients(subject, prompts, target, list({space.site: None for space in spaces}))
    values, activations = {}, {}
    with torch.no_grad():
        for space in spaces:
            activation = found.activations[space.site]
            read = space.encode(activation)
            along = space.pull_back(activation, found.gradients[space.site])
            change = read if baseline == "zero" else read - based[space.name].to(read)
            values[space.name] = without_padding(change * along, prompts.real)
            activations[space.name] = read
    return Attribution(
        values,
        activations,
        prompts.tokens,
        prompts.real.long(),
        target,
        found.value,
        {space.name: space.site for space in spaces},
        prompts.prompt_length,
        subject,
    )


def without_padding(
    values: Float[Tensor, "batch pos feature"], real: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos feature"]:
    """Sets values to zero at padding, where activations are arbitrary."""
    return values if bool(real.all()) else values.masked_fill(~real[:, :, None], 0)
