"""One feature: what is said of it, what it adds to the logits, and which features have a like direction."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.inspection.people import Notes, is_persons
from interp.monitor.bench import Bench
from interp.monitor.knowledge import MAIN_SCORE, Known
from interp.statistics.estimate import Estimate, mean_and_central
from interp.store.rows import DescriptionRow, FeatureRow
from interp.subject.frozen_norm import FrozenNorm
from interp.subject.subject import Subject

DRAWS = 100
"""Random directions that a feature's own is compared with."""
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Said:
    """All that is said of a feature.

    `known` is what it is known by; `row` has the rate, quantiles and exemplars of the first store that has
    them. `measured` are the descriptions of all stores and those kept here, `people` those that people wrote.
    """

    feature: FeatureRef
    known: Known
    row: FeatureRow
    measured: tuple[DescriptionRow, ...] = ()
    people: tuple[DescriptionRow, ...] = ()


def said_of(bench: Bench, key: str, notes: Notes | None = None) -> Said:
    """All that the stores and the notes say of a feature.

    Raises:
        UserError: the key names no feature.
    """
    feature = FeatureRef.parse(key, bench.all_spaces)
    stores = bench.knowledge.stores
    rows = [row for store in stores for row in store.features(bench.subject.name, [feature.key])]
    if notes is not None:
        rows += notes.rows(feature)
    described = [one for row in rows for one in row.descriptions]
    measured = tuple(one for one in described if not is_persons(one))
    known = bench.knowledge.of([feature.key])[feature.key]
    side = feature.polarity > 0
    row = FeatureRow(
        feature.space.name, feature.feature_id, 1 if side else -1,
        next((one.rate for one in rows if one.rate is not None), None),
        next((one.quantiles for one in rows if one.quantiles), {}),
        exemplars=next((one.exemplars for one in rows if one.exemplars), ()),
    )  # fmt: skip
    if not known.text and (kept := [one for one in measured if one.chosen]):
        known = _known_by(kept[0], row)
    return Said(feature, known, row, measured, tuple(one for one in described if is_persons(one)))


def _known_by(description: DescriptionRow, row: FeatureRow) -> Known:
    scores = (one for one in description.scores if (one.kind, one.split) == (MAIN_SCORE, "report"))
    return Known(
        row.key, description.text, description.summary or description.text, next(scores, None),
        description.interesting, row.rate, row.quantiles,
    )  # fmt: skip


def beside(feature: FeatureRef) -> tuple[str | None, str | None]:
    """The keys of the features of the same side before it and after it in its space."""
    places = (feature.feature_id - 1, feature.feature_id + 1)
    before, after = (
        FeatureRef(feature.space, i, feature.polarity).key if 0 <= i < feature.space.n_features else None
        for i in places
    )
    return before, after


def direction_of(feature: FeatureRef) -> Float[Tensor, " d_model"]:
    """What one unit of a feature, on its side, adds to the residual stream."""
    row: Tensor = feature.space.decoder(torch.tensor([feature.feature_id]))[0].detach().float()
    return row * feature.polarity


class TokenEffect(NamedTuple):
    """By how much a token's logit moves."""

    token: int
    effect: float


@dataclass(frozen=True)
class LogitEffects:
    """What one unit of a feature adds to the logits by itself, the mean over all tokens taken off.

    `top` are the tokens that it raises most, `bottom` those that it lowers most. `highest` and `lowest` are
    the largest and the smallest effect of `draws` random directions of the same length: the mean and the
    central 95% over them.
    """

    top: tuple[TokenEffect, ...]
    bottom: tuple[TokenEffect, ...]
    highest: Estimate
    lowest: Estimate
    draws: int = DRAWS


@torch.no_grad()
def logit_effects(
    subject: Subject, direction: Float[Tensor, " d_model"], n: int = 10, draws: int = DRAWS, seed: int = 0
) -> LogitEffects:
    """Computes what a direction adds to the logits through the final norm and the unembedding.

    The norm's scale is held fixed, and left out: it is one number for a token, which divides all effects.

    Raises:
        UserError: norm and unembedding do not give this model's logits.
    """
    norm = FrozenNorm.of(subject.final_norm, subject.d_model, subject.device, subject.dtype)
    unembedding = subject.unembedding().float()

    def effects(of: Float[Tensor, "direction d_model"]) -> Float[Tensor, "direction d_vocab"]:
        found: Tensor = norm.linear(of.to(unembedding.device)) @ unembedding
        return found - found.mean(-1, keepdim=True)

    own = effects(direction[None])[0]
    drawn = torch.randn(draws, len(direction), generator=torch.Generator().manual_seed(seed))
    drawn *= direction.norm().cpu() / drawn.norm(dim=-1, keepdim=True)
    parts = torch.tensor_split(drawn, max(1, draws // 25))
    extremes = [torch.stack(effects(part).aminmax(dim=-1)) for part in parts]
    lowest, highest = torch.cat(extremes, 1).cpu().double().numpy()

    def most(largest: bool) -> tuple[TokenEffect, ...]:
        found = own.topk(min(n, len(own)), largest=largest)
        return tuple(map(TokenEffect, found.indices.tolist(), found.values.tolist()))

    return LogitEffects(most(True), most(False), mean_and_central(highest), mean_and_central(lowest), draws)


class Like(NamedTuple):
    """A feature, and the cosine of its direction with another's."""

    key: str
    cosine: float


@dataclass(frozen=True)
class LikeDirections:
    """The features whose directions are nearest to one's, among `n_features` others that write to the stream.

    `null` is the cosine of a random direction with the nearest of the same features: the mean and the central
    95% over `draws` of them. `left_out` are spaces whose features have no direction.
    """

    nearest: tuple[Like, ...]
    null: Estimate
    n_features: int
    left_out: tuple[str, ...] = ()
    draws: int = DRAWS


@dataclass
class _Nearest:
    n_features: int = 0
    found: list[Like] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@torch.no_grad()
def like_directions(
    bench: Bench, feature: FeatureRef, k: int = 10, draws: int = DRAWS, seed: int = 0
) -> LikeDirections:
    """Finds the features, of any space and on the side that fits, that write most nearly the same."""
    own = torch.nn.functional.normalize(direction_of(feature), dim=0)
    drawn = torch.randn(draws, len(own), generator=torch.Generator().manual_seed(seed))
    both = torch.cat([own[None], torch.nn.functional.normalize(drawn, dim=1).to(own.device)])
    highest = torch.full((draws,), -1.0)
    so_far = _Nearest()
    for space in bench.all_spaces:
        try:
            for start, rows in _directions(space):
                cosines = rows @ both.T
                if space is feature.space and 0 <= (place := feature.feature_id - start) < len(rows):
                    cosines[place] = 0.0 if space.signed else -1.0
                    so_far.n_features -= 1
                sides = cosines.abs() if space.signed else cosines
                highest = torch.maximum(highest, sides[:, 1:].amax(0).cpu())
                so_far.n_features += len(rows)
                best = sides[:, 0].topk(min(k, len(rows)))
                for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                    side = -1 if space.signed and cosines[place, 0] < 0 else 1
                    so_far.found.append(Like(FeatureRef(space, start + place, side).key, value))
        except UserError:
            so_far.left_out.append(space.name)
    so_far.found.sort(key=lambda one: -one.cosine)
    null = mean_and_central(highest.double().numpy())
    return LikeDirections(tuple(so_far.found[:k]), null, so_far.n_features, tuple(so_far.left_out), draws)


def _directions(space: ReadableFeatures) -> Iterator[tuple[int, Float[Tensor, "feature d_model"]]]:
    """The directions of a space, of length 1, some at a time, each part with the number of its first."""
    for start in range(0, space.n_features, _ROWS_AT_ONCE):
        ids = torch.arange(start, min(start + _ROWS_AT_ONCE, space.n_features))
        yield start, torch.nn.functional.normalize(space.decoder(ids).detach().float(), dim=1)
