"""A feature's own quantiles, in its polarity."""

from interp.features.ref import FeatureRef
from interp.mining.exemplars import Exemplars
from interp.mining.quantiles import LEVELS


def quantiles_of(exemplars: Exemplars, feature: FeatureRef) -> dict[float, float]:
    """Returns the quantiles of `polarity * activation`, by their probability."""
    values = exemplars.quantile_values[feature.feature_id].tolist()
    if feature.polarity > 0:
        return dict(zip(LEVELS, values, strict=True))
    return {1 - level: -value for level, value in zip(reversed(LEVELS), reversed(values), strict=True)}


def outer_levels(exemplars: Exemplars, feature: FeatureRef) -> list[float]:
    """Returns activations exceeded on at most one token in 100, the rarest first."""
    found = quantiles_of(exemplars, feature)
    return [found[level] for level in sorted(found, reverse=True) if level >= 0.989]
