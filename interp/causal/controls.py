"""Random features like the ones picked: what changing any such feature would do."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from interp.attribution.baseline import Statistics
from interp.causal.change import by_space
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.statistics import FeatureStatistics

NEAREST = 10  # candidates for each picked feature


def matched_controls(
    features: Sequence[FeatureRef], statistics: Statistics, n_sets: int, seed: int
) -> list[list[FeatureRef]]:
    """Sets of random features, one for each picked one: of its space, not picked, and about as active.

    Activity is the mean absolute activation on the sampled tokens; each control is drawn from the `NEAREST`
    features whose logarithm of it is closest, no feature twice in a set.

    Raises:
        UserError: a space has fewer features left than were picked of it.
    """
    rng = np.random.default_rng(seed)
    sets: list[list[FeatureRef]] = [[] for _ in range(n_sets)]
    for space, places in by_space(features):
        picked = np.array([features[place].feature_id for place in places])
        if space.n_features < 2 * len(picked):
            raise UserError(
                f"{len(picked)} of {space.n_features} features are picked: no control is left for each",
                space.name,
                "pick fewer features",
            )
        activity = _activity(statistics[space.name])
        for chosen in sets:
            taken = set(picked.tolist())
            for place, feature_id in zip(places, picked, strict=True):
                near = np.argsort(np.abs(activity - activity[feature_id]), kind="stable")
                free = [i for i in near.tolist() if i not in taken][:NEAREST]
                control = int(rng.choice(free))
                taken.add(control)
                chosen.append(FeatureRef(space, control, features[place].polarity))
    return sets


def _activity(statistics: FeatureStatistics) -> NDArray[np.float64]:
    """Logarithm of each feature's mean absolute activation; of its mean's size where no sample was kept."""
    sample = statistics.sample
    size: Float[np.ndarray, " feature"] = (
        (statistics.mean.abs() if sample is None else sample.float().abs().mean(0)).double().numpy()
    )
    return np.log(size + 1e-6)
