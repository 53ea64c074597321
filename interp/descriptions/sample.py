"""Draws the features that are described: a uniform sample of those that are ever active."""

from collections.abc import Mapping, Sequence

import numpy as np

from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures, polarities
from interp.mining.exemplars import Exemplars


def sample_active(
    spaces: Sequence[ReadableFeatures],
    explain: Mapping[str, Exemplars],
    n: int | None,
    seed: int | Sequence[int],
) -> list[FeatureRef]:
    """Draws `n` of the features (each polarity is one) active in some explain window; None for all.

    `explain` are the exemplars of the explain split, by space name. The order is that of the spaces.

    Raises:
        UserError: no feature is ever active.
    """
    alive = [
        FeatureRef(space, feature_id, polarity)
        for space in spaces
        for polarity in polarities(space)
        for feature_id in range(space.n_features)
        if explain[space.name].top_document[explain[space.name].line(feature_id, polarity), 0] >= 0
    ]
    if not alive:
        raise UserError(
            "no feature is ever active", ", ".join(space.name for space in spaces), "give more text"
        )
    if n is None:
        return alive
    picks = np.random.default_rng(seed).choice(len(alive), size=min(n, len(alive)), replace=False)
    return [alive[pick] for pick in sorted(picks)]
