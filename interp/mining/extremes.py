"""The largest token activations of every feature, kept exactly."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.mining.windows import signed_rows


@dataclass
class Extremes:
    """For each feature its `m` largest token activations so far [feature, m], -inf where there are fewer.

    With `m` 0 nothing is kept.
    """

    value: Float[Tensor, "feature m"]

    @classmethod
    def empty(cls, n_features: int, m: int) -> "Extremes":
        """Nothing seen yet."""
        return cls(torch.full((n_features, m), -torch.inf))

    def update(
        self,
        peaks: Float[Tensor, "row feature"],
        activations: Float[Tensor, "row pos d"],
        counts: Tensor | None,
    ) -> None:
        """Takes in a batch; arguments as for `TopWindows.update`.

        Only rows whose peak reaches a feature's threshold are looked into: the smallest value kept, or the
        m-th largest peak of this batch, since m tokens at least reach that.
        """
        m = self.value.shape[1]
        if m == 0:
            return
        least = self.value.min(1).values
        if len(peaks) >= m and not torch.isfinite(least).all():
            least = torch.maximum(
                least, torch.nextafter(peaks.topk(m, dim=0).values[-1], torch.tensor(-torch.inf))
            )
        feature, row = (peaks > least).T.nonzero(as_tuple=True)
        if len(feature) == 0:
            return
        window = signed_rows(activations, counts, row, feature)
        extreme = window > least[feature][:, None]
        hit, position = extreme.nonzero(as_tuple=True)
        self._insert(feature[hit], window[hit, position])

    def _insert(self, feature: Tensor, value: Tensor) -> None:
        """Merges values, sorted by feature, into the kept ones."""
        m = self.value.shape[1]
        features, line, count = torch.unique_consecutive(feature, return_inverse=True, return_counts=True)
        rank = torch.arange(len(feature)) - (count.cumsum(0) - count)[line]
        table = torch.full((len(features), m + int(count.max())), -torch.inf)
        table[:, :m] = self.value[features]
        table[line, m + rank] = value
        self.value[features] = table.topk(m, dim=1).values

    def merge(self, other: "Extremes") -> "Extremes":
        """The extremes of both parts of a corpus together."""
        return Extremes(torch.cat([self.value, other.value], 1).topk(self.value.shape[1], dim=1).values)
