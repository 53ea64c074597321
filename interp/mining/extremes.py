"""Keeps the largest token activations of every feature: of all tokens, and of ever sparser samples.

The largest of all tokens are exact, but few. The largest of every eighth token reach eight times as deep into
a corpus, those of every 64th 64 times, so that a rare quantile of a corpus of any length is estimated
from some tens of values. The samples are nested and drawn by the hash of a token's place (bottom-k
sketches, Cohen & Kaplan 2007), so that they do not depend on how a corpus is cut into shards.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from interp.mining.priority import RANGE
from interp.mining.windows import signed_rows

THINNING = 8
"""How many times fewer tokens each sample has than the one before."""
N_SAMPLES = 6
"""Samples of tokens beside all tokens: the last has one token in 262,144."""

_FEW = 16
"""Above one in so many it costs less to look through everything, in the order of memory, than to pick."""


def sample_places(order: NDArray[np.int64]) -> list[Int64[Tensor, " _"]]:
    """Returns the places of each sample's tokens in a batch, from the tokens' hash priorities."""
    places = [np.flatnonzero(order < RANGE // THINNING)]
    for level in range(2, N_SAMPLES + 1):
        places.append(places[-1][order[places[-1]] < RANGE // THINNING**level])
    return [torch.from_numpy(found) for found in places]


class Extremes:
    """The `m` largest positive token activations of each feature so far, 0 where there are fewer.

    With `m` 0 nothing is kept. Tokens of the sparser samples, few in a batch, wait until there are `m`.
    """

    def __init__(self, value: Float[Tensor, "sample feature m"]) -> None:
        self._value = value
        self._waiting: list[list[Float[Tensor, "token d"]]] = [[] for _ in value]

    @property
    def value(self) -> Float[Tensor, "sample feature m"]:
        """The activations kept, of all tokens, then of each of the `N_SAMPLES` samples."""
        for level, waiting in enumerate(self._waiting):
            if waiting:
                self._settle(level)
        return self._value

    @classmethod
    def empty(cls, n_features: int, m: int) -> "Extremes":
        """Nothing seen yet."""
        return cls(torch.zeros(1 + N_SAMPLES, n_features, m))

    def update(
        self,
        peaks: Float[Tensor, "row feature"],
        activations: Float[Tensor, "row pos d"],
        counts: Tensor | None,
    ) -> None:
        """Takes in all tokens of a batch; arguments as for `TopWindows.update`.

        Only rows whose peak reaches a feature's threshold are looked into: the smallest value kept, or the
        m-th largest peak of this batch, since m tokens at least reach that.
        """
        m = self._value.shape[2]
        if m == 0:
            return
        least = self._value[0].amin(1)
        if len(peaks) >= m and not least.all():
            least = torch.maximum(
                least, torch.nextafter(peaks.topk(m, dim=0).values[-1], torch.tensor(-torch.inf))
            )
        feature, row = (peaks > least).T.nonzero(as_tuple=True)
        if len(feature) == 0:
            return
        if len(feature) > peaks.numel() // _FEW:
            self._insert(0, *_larger(activations, counts, least))
            return
        window = signed_rows(activations, counts, row, feature)
        hit, position = (window > least[feature][:, None]).nonzero(as_tuple=True)
        self._insert(0, feature[hit], window[hit, position])

    def update_samples(
        self, activations: Float[Tensor, "token d"], samples: Sequence[Int64[Tensor, " _"]]
    ) -> None:
        """Takes in the tokens of a batch, flattened, that `sample_places` found to be in each sample."""
        m = self._value.shape[2]
        if m == 0:
            return
        for level, places in enumerate(samples, start=1):
            if len(places) == 0:
                continue
            waiting = self._waiting[level]
            waiting.append(activations.index_select(0, places.to(activations.device)).float().cpu())
            if sum(map(len, waiting)) >= m:
                self._settle(level)

    def _settle(self, level: int) -> None:
        """Merges what waits at a level into the kept values."""
        values = torch.cat(self._waiting[level])
        self._waiting[level] = []
        kept = self._value[level]
        if len(kept) == 2 * values.shape[1]:
            values = torch.cat([values, -values], 1)
        larger = values > kept.amin(1)
        count = int(larger.sum())
        if count > larger.numel() // _FEW:  # still being filled: sorting all costs less than picking
            table = torch.cat([kept, values.T.clamp(min=0)], 1)
            self._value[level] = table.topk(kept.shape[1], dim=1).values
        elif count:
            feature, token = larger.T.nonzero(as_tuple=True)
            self._insert(level, feature, values[token, feature])

    def _insert(self, level: int, feature: Tensor, value: Tensor) -> None:
        """Merges values, sorted by feature, into the kept ones."""
        m = self._value.shape[2]
        features, line, count = torch.unique_consecutive(feature, return_inverse=True, return_counts=True)
        rank = torch.arange(len(feature)) - (count.cumsum(0) - count)[line]
        table = torch.zeros(len(features), m + int(count.max()))
        table[:, :m] = self._value[level, features]
        table[line, m + rank] = value
        self._value[level, features] = table.topk(m, dim=1).values

    def merge(self, other: "Extremes") -> "Extremes":
        """The extremes of both parts of a corpus together."""
        return Extremes(torch.cat([self.value, other.value], 2).topk(self.value.shape[2], dim=2).values)


def _larger(
    activations: Float[Tensor, "row pos d"], counts: Tensor | None, least: Float[Tensor, " feature"]
) -> tuple[Int64[Tensor, " value"], Float[Tensor, " value"]]:
    """All counting values above their feature's threshold, sorted by feature: features and values."""
    d = activations.shape[2]
    features, values = [], []
    for side in range(len(least) // d):
        above = activations > least[:d] if side == 0 else activations < -least[d:]
        if counts is not None:
            above &= counts[:, :, None]
        where = above.nonzero(as_tuple=True)
        value = activations[where]
        features.append(where[2] + side * d)
        values.append(value if side == 0 else -value)
    feature, order = torch.cat(features).sort(stable=True)
    return feature, torch.cat(values)[order]
