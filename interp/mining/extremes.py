"""Keeps the largest token activations of every feature: of all tokens, and of ever sparser samples.

The largest of all tokens are exact, but few. The largest of every eighth token reach eight times as deep into
a corpus, those of every 64th 64 times, so that a rare quantile of a corpus of any length is estimated
from some tens of values. The samples are nested and drawn by the hash of a token's place (bottom-k
sketches, Cohen & Kaplan 2007), so that they do not depend on how a corpus is cut into shards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from interp.mining.hits import Hits
from interp.mining.priority import RANGE

THINNING = 8
"""How many times fewer tokens each sample has than the one before."""
N_SAMPLES = 6
"""Samples of tokens beside all tokens: the last has one token in 262,144."""

GROUP = 8
"""Neighbouring tokens whose highest activation is looked at before their own."""
FILLING = 8
"""Lists fill up until so many times the tokens of a batch were seen; then little of a batch enters."""
_FEW = 16
"""Above one in so many it costs less to look through everything, in the order of memory, than to pick."""


def by_group(
    reduce: Callable[..., Tensor], activations: Float[Tensor, "row pos d"], width: int = GROUP
) -> Float[Tensor, "row group _"]:
    """Reduces (`torch.amax`) every `width` neighbouring positions to one; the last group may be smaller."""
    whole = activations.shape[1] // width * width
    parts = []
    if whole:
        rows, _, d = activations.shape
        parts.append(reduce(activations[:, :whole].view(rows, -1, width, d), 2))
    if whole < activations.shape[1]:
        parts.append(reduce(activations[:, whole:], 1, keepdim=True))
    return torch.cat(parts, 1)


def sample_places(order: NDArray[np.int64]) -> list[Int64[Tensor, " _"]]:
    """Returns the places of each sample's tokens in a batch, from the tokens' hash priorities."""
    places = [np.flatnonzero(order < RANGE // THINNING)]
    for level in range(2, N_SAMPLES + 1):
        places.append(places[-1][order[places[-1]] < RANGE // THINNING**level])
    return [torch.from_numpy(found) for found in places]


@dataclass(frozen=True)
class Offer:
    """Values [unit, feature] of a batch, of which `hits` may enter a level; at level 0 units are groups."""

    level: int
    hits: Hits
    values: Float[Tensor, "unit d"] | None = None


class Extremes:
    """The `m` largest positive token activations of each feature so far, 0 where there are fewer.

    With `m` 0 nothing is kept. Tokens of the sparser samples, few in a batch, wait until there are `m`.
    """

    def __init__(self, value: Float[Tensor, "sample feature m"]) -> None:
        self._value = value
        self._waiting: list[list[Float[Tensor, "token d"]]] = [[] for _ in value]
        self._taken = [0] * len(value)

    @property
    def value(self) -> Float[Tensor, "sample feature m"]:
        """The activations kept, of all tokens, then of each of the `N_SAMPLES` samples."""
        for level, waiting in enumerate(self._waiting):
            if not waiting:
                continue
            if self._value.device.type == "cpu":
                self._settle(level)
            else:
                self._insert_all(level, torch.cat(waiting))
                waiting.clear()
        return self._value

    @property
    def n_lines(self) -> int:
        """How many features there are, of both polarities if the space is signed."""
        return self._value.shape[1]

    @property
    def n_kept(self) -> int:
        """How many values are kept of each feature."""
        return self._value.shape[2]

    @classmethod
    def empty(cls, n_features: int, m: int, device: torch.device | None = None) -> "Extremes":
        """Nothing seen yet."""
        return cls(torch.zeros(1 + N_SAMPLES, n_features, m, device=device))

    def moved(self, device: torch.device) -> "Extremes":
        """Returns them on a device."""
        return Extremes(self.value.to(device))

    def update(
        self,
        peaks: Float[Tensor, "row feature"],
        groups: Float[Tensor, "row group feature"],
        activations: Float[Tensor, "row pos d"],
        counts: Tensor | None,
    ) -> None:
        """Takes in all tokens of a batch; `groups` are the peaks of `GROUP`s, the rest as for `TopWindows`.

        Only rows and then groups whose peak exceeds a feature's threshold are looked into: the smallest value
        kept, or while many do, the m-th largest peak of a group in this batch, which m tokens at least reach.
        """
        m = self._value.shape[2]
        if m == 0:
            return
        least = self._value[0].amin(1)
        above = peaks > least
        if int(above.sum()) > above.numel() // _FEW and groups.shape[0] * groups.shape[1] >= m:
            larger = by_group(torch.amax, groups).flatten(0, 1)
            flat = larger if len(larger) >= 2 * m else groups.flatten(0, 1)
            reached = torch.nextafter(_largest(flat.T, m).amin(1), torch.tensor(-torch.inf))
            least = torch.maximum(least, reached)
            above = peaks > least
        feature, row = above.T.nonzero(as_tuple=True)
        hit, group = (groups[row, :, feature] > least[feature][:, None]).nonzero(as_tuple=True)
        if len(hit) == 0:
            return
        feature, row = feature[hit], row[hit]
        value = _group(activations, counts, row, group, feature)
        hit, position = (value > least[feature][:, None]).nonzero(as_tuple=True)
        self._insert(0, feature[hit], value[hit, position])

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

    def may_enter(
        self,
        peaks: Float[Tensor, "row feature"],
        groups: Float[Tensor, "row group feature"],
        activations: Float[Tensor, "token d"],
        samples: Sequence[Int64[Tensor, " _"]],
        filling: bool,
    ) -> list[Offer]:
        """Finds the tokens of a batch that may enter, without waiting for the device; `enter` takes them in.

        Arguments as of `update` and `update_samples`. While values are `filling` up, a bound is the m-th
        largest peak of a row (or a group) of the batch, which m tokens at least reach.
        """
        m = self._value.shape[2]
        if m == 0:
            return []
        least = self._value[0].amin(1)
        table = peaks if len(peaks) >= m else groups.flatten(0, 1).float()
        if filling and len(table) >= m:
            reached = table.T.contiguous().topk(m, dim=1, sorted=False).values.amin(1)
            least = torch.maximum(least, torch.nextafter(reached, torch.full_like(reached, -torch.inf)))
        offers = [Offer(0, Hits.of((groups > least).flatten(0, 1)))]
        for level, places in enumerate(samples, start=1):
            if len(places) == 0:
                continue
            waiting = self._waiting[level]
            waiting.append(activations.index_select(0, places))
            if (n := sum(map(len, waiting))) < m:
                continue
            values = torch.cat(waiting)
            waiting.clear()
            self._taken[level] += n
            if self._taken[level] < FILLING * n:
                self._insert_all(level, values)
                continue
            least, d = self._value[level].amin(1), values.shape[1]
            sides = [values > least[:d]]
            if len(least) > d:
                sides.append(values.neg() > least[d:])
            offers.append(Offer(level, Hits.of(torch.cat(sides, 1)), values))
        return offers

    def enter(
        self,
        offer: Offer,
        sizes: Sequence[int],
        n_groups: int,
        activations: Float[Tensor, "row pos d"],
        counts: Tensor | None,
    ) -> None:
        """Takes in what `may_enter` found of a batch, by the `sizes` of the hits; a row has `n_groups`.

        Nothing here waits for the device: every shape follows from the sizes.
        """
        n_hits, n_lines, most = sizes
        if n_hits == 0:
            return
        at, d, m = offer.hits.laid(n_hits, n_lines), activations.shape[2], self._value.shape[2]
        if offer.values is None:
            row = torch.div(at.unit, n_groups, rounding_mode="floor")
            found = _group_at(activations, counts, row, at.unit % n_groups, at.line)
        else:
            sign = 1.0 - 2.0 * (at.line >= d).float()
            found = (offer.values[at.unit, at.line % d].float() * sign)[:, None]
        width = found.shape[1]
        table = found.new_zeros(n_lines, m + most * width)
        table[:, :m] = self._value[offer.level][at.lines]
        column = m + at.rank[:, None] * width + torch.arange(width, device=found.device)
        table[at.place[:, None], column] = found.clamp(min=0)
        self._value[offer.level][at.lines] = table.topk(m, dim=1, sorted=False).values

    def _insert_all(self, level: int, values: Float[Tensor, "token d"]) -> None:
        """Merges values of a batch into the kept ones, each looked at."""
        kept, wide = self._value[level], values.float()
        sides = wide if len(kept) == values.shape[1] else torch.cat([wide, wide.neg()], 1)
        table = torch.cat([kept, sides.T.clamp(min=0)], 1)
        self._value[level] = table.topk(kept.shape[1], dim=1, sorted=False).values

    def _settle(self, level: int) -> None:
        """Merges what waits at a level into the kept values."""
        values = torch.cat(self._waiting[level])
        self._waiting[level] = []
        kept, d = self._value[level], values.shape[1]
        least = kept.amin(1)
        hits = [values > least[:d]] if len(kept) == d else [values > least[:d], values < -least[d:]]
        places = [hit.nonzero(as_tuple=True) for hit in hits]
        count = sum(len(token) for token, _ in places)
        if count > len(values) * len(kept) // _FEW:  # still being filled: sorting all costs less than picking
            sides = values if len(kept) == d else torch.cat([values, -values], 1)
            table = torch.cat([kept, sides.T.clamp(min=0)], 1)
            self._value[level] = _largest(table, kept.shape[1])
        elif count:
            feature, order = torch.cat([n + side * d for side, (_, n) in enumerate(places)]).sort(stable=True)
            found = torch.cat([values[place] * (1 - 2 * side) for side, place in enumerate(places)])
            self._insert(level, feature, found[order])

    def _insert(self, level: int, feature: Tensor, value: Tensor) -> None:
        """Merges values, sorted by feature, into the kept ones."""
        m = self._value.shape[2]
        features, line, count = torch.unique_consecutive(feature, return_inverse=True, return_counts=True)
        rank = torch.arange(len(feature)) - (count.cumsum(0) - count)[line]
        table = torch.zeros(len(features), m + int(count.max()))
        table[:, :m] = self._value[level, features]
        table[line, m + rank] = value
        self._value[level, features] = _largest(table, m)

    def merge(self, other: "Extremes") -> "Extremes":
        """The extremes of both parts of a corpus together."""
        return Extremes(torch.cat([self.value, other.value], 2).topk(self.value.shape[2], dim=2).values)


def both_sides(values: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """The largest along an axis, then, on the last axis, the largest of the negated values."""
    low, high = torch.aminmax(values, dim=dim, keepdim=keepdim)
    return torch.cat([high, low.neg()], -1)


def _group_at(
    activations: Float[Tensor, "row pos d"],
    counts: Tensor | None,
    row: Int64[Tensor, " n"],
    group: Int64[Tensor, " n"],
    feature: Int64[Tensor, " n"],
) -> Float[Tensor, "n position"]:
    """As `_group`, by indices that a device can follow; 0 where nothing counts."""
    n_positions, d = activations.shape[1:]
    position = group[:, None] * GROUP + torch.arange(GROUP, device=group.device)
    missing = position >= n_positions
    position = position.clamp(max=n_positions - 1)
    values = activations[row[:, None], position, (feature % d)[:, None]].float()
    values *= (1.0 - 2.0 * (feature >= d).float())[:, None]
    if counts is not None:
        missing |= ~counts[row[:, None], position]
    return values.masked_fill_(missing, 0.0)


def _largest(table: Float[Tensor, "line value"], m: int) -> Float[Tensor, "line m"]:
    """The `m` largest of each line, in no order; numpy's partition takes a third of the time of `topk`."""
    values = table.contiguous().numpy()
    return torch.from_numpy(np.partition(values, values.shape[1] - m, axis=1)[:, -m:])


def _group(
    activations: Float[Tensor, "row pos d"],
    counts: Tensor | None,
    row: Int64[Tensor, " n"],
    group: Int64[Tensor, " n"],
    feature: Int64[Tensor, " n"],
) -> Float[Tensor, "n position"]:
    """Returns values of groups of features (from `d` on: negative polarity); -inf if not counted."""
    (_, n_positions, d), steps = activations.shape, activations.stride()
    position = group[:, None] * GROUP + torch.arange(GROUP)
    missing = position >= n_positions
    position.clamp_(max=n_positions - 1)
    place = (row * steps[0] + feature % d * steps[2])[:, None] + position * steps[1]
    values = activations.as_strided((int(place.max()) + 1,), (1,)).take(place)  # half the time of indexing
    values *= (1.0 - 2.0 * (feature >= d).float())[:, None]
    if counts is not None:
        missing |= ~counts[row[:, None], position]
    return values.masked_fill_(missing, -torch.inf)
