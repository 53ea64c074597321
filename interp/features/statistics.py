"""The distribution of a space's features over a corpus, which clamps and ablations take values from."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.features.space import Polarity


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Statistics of one feature space over the counting tokens of a corpus.

    `mean` [feature] and `quantile_values` [feature, level] are of the signed activation, the latter at the
    probabilities `levels`. `sample` [token, feature] are the activations on tokens drawn uniformly;
    it is None where no sample was kept. `quantile_error` [level] is the half-width of the 95% interval of
    each level, in units of probability; None where the quantiles are exact. `MinedSpace.statistics` makes
    them.
    """

    space: str
    levels: tuple[float, ...]
    quantile_values: Float[Tensor, "feature level"]
    mean: Float[Tensor, " feature"]
    sample: Float[Tensor, "token feature"] | None = None
    quantile_error: Float[Tensor, " level"] | None = None

    def __repr__(self) -> str:
        sample = "" if self.sample is None else f", a sample of {len(self.sample):,} tokens"
        kept = f"{len(self.mean):,} features, {len(self.levels)} quantiles{sample}"
        return f"FeatureStatistics({self.space}: {kept})"

    def quantile(self, level: float, feature_ids: Int[Tensor, " feature"]) -> Float[Tensor, " feature"]:
        """The `level`-quantile of these features.

        Raises:
            UserError: that quantile was not kept, or its tail is known to no better than half its size.
        """
        nearest = min(range(len(self.levels)), key=lambda place: abs(self.levels[place] - level))
        if abs(self.levels[nearest] - level) > 1e-3 * min(level, 1 - level):
            raise UserError(
                f"the {level:.10g}-quantile was not kept",
                f"statistics of {self.space}",
                f"use one of {', '.join(f'{kept:.6g}' for kept in self.levels)}",
            )
        error = 0.0 if self.quantile_error is None else float(self.quantile_error[nearest])
        tail = min(level, 1 - level)
        if error > tail / 2:
            raise UserError(
                f"beyond the {level:.10g}-quantile lies a share {tail:.3g} of the tokens, and the sampled "
                f"ones tell it only to within {error:.1g}",
                f"statistics of {self.space}",
                "use those of the explain split, for which extremes are kept, a level nearer to 0.5, "
                "or mine with a larger sampled_tokens",
            )
        return self.quantile_values[feature_ids.cpu(), nearest]

    def tail(
        self, tail: float, feature_ids: Int[Tensor, " feature"], polarities: Sequence[Polarity]
    ) -> Float[Tensor, " feature"]:
        """What each exceeds on a share `tail` of tokens, in its polarity: q(1 - tail) or q(tail)."""
        ids, positive = feature_ids.cpu(), torch.tensor(polarities) > 0
        found = torch.empty(len(ids), dtype=self.quantile_values.dtype)
        for level, side in ((1 - tail, positive), (tail, ~positive)):
            if bool(side.any()):
                found[side] = self.quantile(level, ids[side])
        return found
