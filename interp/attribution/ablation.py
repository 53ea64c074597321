"""Exact effects: what a target loses when a feature is ablated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.baseline import Statistics
from interp.attribution.passes import laid_out, target_values
from interp.attribution.stacked import values_under
from interp.attribution.target import Target
from interp.features.space import FeatureSpace
from interp.intervene import Ablate
from interp.intervene.features import AblateTo
from interp.intervene.positions import Positions
from interp.subject.subject import Subject


@dataclass(frozen=True)
class Chosen:
    """One feature of a space, at one position or (None) at all, an answer's own tokens included."""

    space: FeatureSpace
    feature_id: int
    position: int | None = None

    @property
    def positions(self) -> Positions:
        """The position as interventions take it."""
        return "all" if self.position is None else self.position


def strongest_places(
    values: Mapping[str, Float[Tensor, "batch pos feature"]], spaces: Sequence[FeatureSpace], count: int
) -> list[Chosen]:
    """Selects the features and positions of the first prompt with the largest absolute values."""
    parts = [values[space.name][0].abs().flatten() for space in spaces]
    flat, ends = torch.cat(parts), np.cumsum([0, *map(len, parts)])
    found = []
    for place in flat.topk(min(count, len(flat))).indices.tolist():
        number = int(np.searchsorted(ends, place, side="right")) - 1
        position, feature_id = divmod(place - int(ends[number]), spaces[number].n_features)
        found.append(Chosen(spaces[number], feature_id, position))
    return found


def random_places(
    spaces: Sequence[FeatureSpace], n_positions: int, count: int, rng: np.random.Generator
) -> list[Chosen]:
    """Draws features and positions uniformly."""
    sizes = np.array([space.n_features for space in spaces])
    drawn = rng.choice(len(sizes), size=count, p=sizes / sizes.sum())
    return [Chosen(spaces[n], int(rng.integers(sizes[n])), int(rng.integers(n_positions))) for n in drawn]


@torch.no_grad()
def ablation_effects(
    subject: Subject,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"] | None,
    target: Target,
    chosen: Sequence[Chosen],
    *,
    to: AblateTo = "zero",
    statistics: Statistics | None = None,
    rows_at_once: int = 64,
) -> Float[Tensor, "chosen batch"]:
    """T(clean) - T(feature ablated) for each of these features on its own, in the target's unit.

    Positive where the feature raises the target. Each is an `Ablate` on rows of its own, so many share a
    forward pass of at most `rows_at_once` rows (at least one feature on all prompts).

    Raises:
        UserError: before the model runs, a feature or position does not exist, the target does not fit, or a
            mean or a sample lacks statistics.
    """
    prompts = target.asked_of(subject, laid_out(subject, tokens, mask))
    known = statistics or {}
    changes = [
        Ablate(one.space, one.feature_id, to, one.positions, statistics=known.get(one.space.name))
        for one in chosen
    ]
    for change in changes:
        change.check(prompts)
    clean = target_values(subject, prompts, target)
    return clean - values_under(subject, prompts, target, changes, rows_at_once)
