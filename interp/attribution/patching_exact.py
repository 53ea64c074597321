"""Activation patching: the exact effect of putting one prompt's activations into another's run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.ablation import Chosen
from interp.attribution.pairs import Direction, pairs_of
from interp.attribution.passes import Prompts, record
from interp.attribution.stacked import values_under
from interp.attribution.target import Target
from interp.intervene import Clamp, Replace
from interp.intervene.positions import Positions, check_positions
from interp.subject.forward import ForwardPass
from interp.subject.site import Site
from interp.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Patching:
    """Effects of patches, T(patched) - T(base), signed, in the target's unit.

    `sites` are [batch, pos], at `head_out` [batch, head, pos]; `pos` are the columns of the padded prompts
    (zero at padding), or the positions asked for; an answer's own tokens are never patched. `chosen`
    [chosen, batch] are those of features.
    `base_value` and `source_value` [batch] are the target in the run that is patched, and in the other.
    """

    sites: dict[Site, Tensor]
    chosen: Float[Tensor, "chosen batch"]
    base_value: Float[Tensor, " batch"]
    source_value: Float[Tensor, " batch"]


class ReplaceHead(Replace):
    """`Replace` for one attention head; the others keep their outputs."""

    def __init__(
        self, subject: Subject, site: Site, activation: Tensor, head: int, positions: Positions
    ) -> None:
        super().__init__(subject, site, activation, positions)
        self.head = torch.arange(subject.n_heads, device=subject.device)[:, None] == head

    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns the activation with one head replaced."""
        return torch.where(self.head, super().edited(activation, forward), activation)


@torch.no_grad()
def activation_patching(
    subject: Subject,
    clean: Prompts,
    corrupted: Prompts,
    target: Target,
    *,
    sites: Sequence[Site] = (),
    chosen: Sequence[Chosen] = (),
    positions: Sequence[int] | None = None,
    direction: Direction = "denoise",
    rows_at_once: int = 64,
) -> Patching:
    """Patches each site at each position (`head_out`: each head, too), and chosen features, in batches.

    "denoise" runs the corrupted prompt and puts the clean one's activation in: a positive effect restores
    the target. "noise" runs the clean prompt and puts the corrupted one's in (Vig et al. 2020, arXiv
    2004.12265; Meng et al. 2022, arXiv 2202.05262). `positions` are counted in each prompt's own tokens, from
    0 or backwards from -1; without them, every column is patched. A feature is patched by its value, which
    leaves everything else at its site as it was. Several pairs make a batch.

    Raises:
        UserError: before the model runs, a pair's prompts differ in length (shows both), or a site, feature
            or position does not exist, or the target does not fit.
    """
    pairs = pairs_of(subject, clean, corrupted, target, direction)
    if positions is not None:
        check_positions(positions, pairs.base)
    for site in sites:
        subject.site_width(site)
    for one in chosen:
        Clamp(one.space, one.feature_id, 0.0, one.positions).check(pairs.base)
    places: list[Positions] = list(_columns(pairs.base) if positions is None else positions)
    base = record(subject, pairs.base, target, [])
    wanted = list({site: None for site in [*sites, *(one.space.site for one in chosen)]})
    source = record(subject, pairs.source, target, wanted)

    found = {}
    prompt = slice(pairs.base.prompt_length)
    for site in sites:
        put = source.activations[site][:, prompt]
        heads = range(subject.n_heads) if site.kind == "head_out" else [None]
        changes = [
            Replace(subject, site, put, place)
            if head is None
            else ReplaceHead(subject, site, put, head, place)
            for head in heads
            for place in places
        ]
        effects = values_under(subject, pairs.base, target, changes, rows_at_once) - base.value
        shaped = effects.view(len(heads), len(places), -1).permute(2, 0, 1)
        if positions is None:
            shaped = shaped.masked_fill(~pairs.base.real[:, None, prompt], 0)
        found[site] = shaped if site.kind == "head_out" else shaped[:, 0]
    clamps = []
    for one in chosen:
        read = one.space.encode(source.activations[one.space.site])[:, prompt, [one.feature_id]]
        clamps.append(Clamp(one.space, one.feature_id, read, one.positions))
    by_feature = values_under(subject, pairs.base, target, clamps, rows_at_once) - base.value
    return Patching(found, by_feature, base.value, source.value)


def _columns(prompts: ForwardPass) -> Iterator[Tensor]:
    """Yields a mask [batch, pos] for each column of the prompts."""
    for column in range(prompts.prompt_length):
        mask = torch.zeros_like(prompts.real[:, : prompts.prompt_length])
        mask[:, column] = True
        yield mask
