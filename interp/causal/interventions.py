"""Interventions on a set of features that may lie in several spaces."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.baseline import Statistics
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace, writable
from interp.intervene import Ablate, Clamp, Positions, Scale
from interp.intervene.features import AblateTo
from interp.intervene.values import Number


def ablations(
    features: Sequence[FeatureRef],
    to: AblateTo,
    statistics: Statistics,
    positions: Positions = "all",
    seed: int = 0,
) -> list[Ablate]:
    """Makes one ablation for each space."""
    return [
        Ablate(space, _ids(features, places), to, positions, statistics=statistics[space.name], seed=seed)
        for space, places in by_space(features)
    ]


def scales(features: Sequence[FeatureRef], factor: Number, positions: Positions = "all") -> list[Scale]:
    """Makes one scaling for each space."""
    return [Scale(space, _ids(features, places), factor, positions) for space, places in by_space(features)]


def clamps(
    features: Sequence[FeatureRef], values: Float[Tensor, " feature"], positions: Positions = "all"
) -> list[Clamp]:
    """Makes one clamp for each space, of every feature to its own value."""
    return [
        Clamp(space, _ids(features, places), values[places], positions)
        for space, places in by_space(features)
    ]


def by_space(features: Sequence[FeatureRef]) -> Iterator[tuple[FeatureSpace, list[int]]]:
    """Yields each space with the indices of its features in the list.

    Raises:
        UserError: a space can only be read.
    """
    spaces = {feature.space.name: feature.space for feature in features}
    for name, space in spaces.items():
        yield writable(space), [place for place, feature in enumerate(features) if feature.space.name == name]


def dose_values(
    features: Sequence[FeatureRef], statistics: Statistics, n_doses: int, tail: float = 1e-5
) -> Float[Tensor, "dose feature"]:
    """Spaces each feature's values evenly between its `tail`- and its (1 - `tail`)-quantile, by dose.

    A feature of negative polarity goes the other way, so that it is the more active the larger the dose.
    """
    ends = []
    for feature in features:
        found, one = statistics[feature.space.name], torch.tensor([feature.feature_id])
        low, high = (float(found.quantile(level, one)) for level in (tail, 1 - tail))
        ends.append((low, high) if feature.polarity > 0 else (high, low))
    low, high = torch.tensor(ends).T
    values: Tensor = low + torch.linspace(0, 1, n_doses)[:, None] * (high - low)
    return values


def _ids(features: Sequence[FeatureRef], places: Sequence[int]) -> list[int]:
    return [features[place].feature_id for place in places]
