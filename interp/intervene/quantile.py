"""Values taken from a feature's own distribution."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.features.space import FeatureSpace, Polarity
from interp.features.statistics import FeatureStatistics
from interp.intervene.values import Number


class AtQuantile:
    """`strength` times what a feature exceeds on a share `tail` of the tokens: q(1 - tail), or q(tail) for
    its negative side.

    The rule of Transluce's Monitor. Its released code uses tail 1e-7, its published text 1e-5 (the default:
    a corpus of some hundred thousand tokens says nothing of rarer ones).
    """  # fmt: skip

    def __init__(self, strength: Number, tail: float = 1e-5) -> None:
        self.strength = strength
        self.tail = tail

    def values(
        self,
        space: FeatureSpace,
        feature_ids: Int[Tensor, " feature"],
        polarities: Sequence[Polarity],
        statistics: FeatureStatistics | None,
    ) -> Float[Tensor, " feature"]:
        """The value for each feature.

        Raises:
            UserError: there are no statistics, they do not tell that quantile, or a feature is active on a
                smaller share of the tokens.
        """
        found = needed(statistics, space, "a quantile")
        values = found.tail(self.tail, feature_ids, polarities)
        silent = feature_ids.cpu()[values * values.new_tensor(polarities) <= 0]
        if len(silent) and self.strength != 0:
            named = ", ".join(map(str, silent.tolist()[:5]))
            smaller = self.tail > min(found.levels) * 1.001
            raise UserError(
                f"no more than a share {self.tail:g} of the tokens activates feature {named}",
                f"clamp on {space.name}",
                "clamp it to a number" + (", or use a smaller tail" if smaller else ""),
            )
        return self.strength * values


def needed(statistics: FeatureStatistics | None, space: FeatureSpace, purpose: str) -> FeatureStatistics:
    """The statistics, if they are of this space.

    Raises:
        UserError: there are none, or they are of another space.
    """
    fix = f"mine {space.name} and pass statistics=mined[{space.name!r}].statistics()"
    if statistics is None:
        raise UserError(f"{purpose} needs the features' statistics", space.name, fix)
    if statistics.space != space.name or len(statistics.mean) != space.n_features:
        raise UserError(f"the statistics are of {statistics.space}", space.name, fix)
    return statistics
