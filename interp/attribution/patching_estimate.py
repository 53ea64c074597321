"""Attribution patching: a first-order estimate of every patch's effect, in two forwards and one backward."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.gradient import without_padding
from interp.attribution.pairs import Direction, pairs_of
from interp.attribution.passes import Prompts, record, record_gradients
from interp.attribution.target import Target
from interp.features.space import FeatureSpace, writable
from interp.subject.site import Site
from interp.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class PatchingEstimate:
    """Estimates of T(patched) - T(base), signed, in the target's unit; zero at padding.

    Positions are those of the prompts: an answer's own tokens are never patched.

    `sites` are [batch, pos], at `head_out` [batch, head, pos]; `spaces` [batch, pos, feature] by name.
    `base_value` and `source_value` [batch] are the target in the run that is patched, and in the other.
    """

    sites: dict[Site, Tensor]
    spaces: dict[str, Float[Tensor, "batch pos feature"]]
    base_value: Float[Tensor, " batch"]
    source_value: Float[Tensor, " batch"]


def attribution_patching(
    subject: Subject,
    clean: Prompts,
    corrupted: Prompts,
    target: Target,
    *,
    sites: Sequence[Site] = (),
    spaces: Sequence[FeatureSpace] = (),
    direction: Direction = "denoise",
) -> PatchingEstimate:
    """Computes (a_source - a_base) . dT/da on the base run, for every site, head and feature, by position.

    Nanda 2023 ("Attribution Patching"); AtP in Kramar et al. 2024 (AtP*, arXiv 2403.00745). Base and
    source by `direction` as in `activation_patching`, whose effects these are where the model is linear.

    Raises:
        UserError: before the model runs, a pair's prompts differ in length (shows both), a site does not
            exist, features can only be read, or the target does not fit.
    """
    for space in spaces:
        writable(space)
    pairs = pairs_of(subject, clean, corrupted, target, direction)
    wanted = list({site: None for site in [*sites, *(space.site for space in spaces)]})
    base = record_gradients(subject, pairs.base, target, wanted)
    source = record(subject, pairs.source, target, wanted)
    by_site, by_space = {}, {}
    prompt = slice(pairs.base.prompt_length)
    real = pairs.base.real[:, prompt]
    with torch.no_grad():
        for site in sites:
            change = source.activations[site] - base.activations[site]
            each = (change * base.gradients[site]).sum(-1)[:, prompt]
            if site.kind == "head_out":
                by_site[site] = without_padding(each, real).transpose(1, 2)
            else:
                by_site[site] = without_padding(each[..., None], real)[..., 0]
        for space in spaces:
            activation = base.activations[space.site]
            change = space.encode(source.activations[space.site]) - space.encode(activation)
            along = space.pull_back(activation, base.gradients[space.site])
            by_space[space.name] = without_padding((change * along)[:, prompt], real)
    return PatchingEstimate(by_site, by_space, base.value, source.value)
