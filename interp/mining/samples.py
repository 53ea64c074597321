"""Uniform samples of rows and tokens, shared by all feature spaces of a split, in half precision."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from interp.corpus.batches import Batch
from interp.device import sent
from interp.mining.priority import priority

_ROW_SALT, _TOKEN_SALT = 1, 2
_EMPTY = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Arrivals:
    """Which items of a batch enter a sample: `item` [n] goes to `slot` [n]."""

    item: Int64[Tensor, " n"]
    slot: Int64[Tensor, " n"]

    def to(self, device: torch.device) -> "Arrivals":
        """Returns them on a device."""
        return Arrivals(sent(self.item, device), sent(self.slot, device))


def token_order(batch: Batch) -> NDArray[np.int64]:
    """Returns the hash priority of each token of the flattened batch; the largest integer if not counted."""
    position = _positions(batch)
    order = priority(np.broadcast_to(batch.hash[:, None], position.shape), position, _TOKEN_SALT)
    return np.where(batch.counts, order, _EMPTY).ravel()


def _positions(batch: Batch) -> NDArray[np.int64]:
    """Returns the position of each token in its document [row, pos]."""
    return batch.start[:, None].astype(np.int64) + np.arange(batch.tokens.shape[1]) - batch.offset


@dataclass
class SampleIndex:
    """Which rows or tokens are in a sample: document, start (of the row) or position (of the token).

    All arrays are [size]; places not yet filled have document -1. Feature spaces keep their values in the
    same slots, so that one index serves all of them.
    """

    priority: NDArray[np.int64]
    document: NDArray[np.int64]
    position: NDArray[np.int64]

    @classmethod
    def empty(cls, size: int) -> "SampleIndex":
        """Nothing sampled yet."""
        return cls(
            np.full(size, _EMPTY), np.full(size, -1, dtype=np.int64), np.full(size, -1, dtype=np.int64)
        )

    def take_rows(self, batch: Batch) -> Arrivals:
        """Takes in a batch's rows that hold a counting token, each text once."""
        order = priority(batch.hash, batch.start.astype(np.int64), _ROW_SALT)
        order[~batch.counts.any(1) | np.isin(order, self.priority)] = _EMPTY
        _, first = np.unique(order, return_index=True)
        repeated = np.ones(len(order), dtype=bool)
        repeated[first] = False
        order[repeated] = _EMPTY
        return self._take(order, batch.document, batch.start.astype(np.int64))

    def take_tokens(self, batch: Batch, order: NDArray[np.int64]) -> Arrivals:
        """Takes in a batch's counting tokens, whose priorities are `order` (`token_order`).

        Items are positions in the flattened batch.
        """
        position = _positions(batch)
        document = np.broadcast_to(batch.document[:, None], position.shape)
        return self._take(order, document.ravel(), position.ravel())

    def _take(
        self, order: NDArray[np.int64], document: NDArray[np.int64], position: NDArray[np.int64]
    ) -> Arrivals:
        size = len(self.priority)
        candidate = np.flatnonzero(order < self.priority.max())
        joined = np.concatenate([self.priority, order[candidate]])
        kept = np.argsort(joined, kind="stable")[:size]
        item = candidate[kept[kept >= size] - size]
        stays = np.zeros(size, dtype=bool)
        stays[kept[kept < size]] = True
        slot = np.flatnonzero(~stays)[: len(item)]
        self.priority[slot], self.document[slot], self.position[slot] = (
            order[item],
            document[item],
            position[item],
        )
        return Arrivals(torch.from_numpy(item), torch.from_numpy(slot))

    def merge(self, other: "SampleIndex", distinct: bool) -> tuple["SampleIndex", NDArray[np.int64]]:
        """Returns the sample of both parts, and for each slot its place in the two parts concatenated."""
        joined = np.concatenate([self.priority, other.priority])
        if distinct:
            _, first = np.unique(joined, return_index=True)
            repeated = np.ones(len(joined), dtype=bool)
            repeated[first] = False
            joined = np.where(repeated, _EMPTY, joined)
        kept = np.argsort(joined, kind="stable")[: len(self.priority)]
        empty = joined[kept] == _EMPTY
        document = np.concatenate([self.document, other.document])[kept]
        position = np.concatenate([self.position, other.position])[kept]
        document[empty] = position[empty] = -1
        return SampleIndex(joined[kept], document, position), kept

    def order(self) -> NDArray[np.int64]:
        """Returns filled slots by priority, an order that does not depend on how the sample was gathered."""
        order = np.argsort(self.priority, kind="stable")
        return order[self.priority[order] < _EMPTY]


@dataclass
class SampledValues:
    """The activations of a feature space at each sampled item [slot, feature], kept `compact`."""

    value: Float[Tensor, "slot feature"]

    @classmethod
    def empty(
        cls,
        size: int,
        n_features: int,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float16,
    ) -> "SampledValues":
        """Nothing sampled yet."""
        return cls(torch.zeros(size, n_features, device=device, dtype=dtype))

    def take(self, arrivals: Arrivals, values: Float[Tensor, "item feature"]) -> None:
        """Copies the values of arriving items from those of all items of a batch."""
        arriving = values.index_select(0, arrivals.item.to(values.device))
        arriving = compact(arriving).cpu()
        self.value = room_for(self.value, arriving)
        self.value.index_copy_(0, arrivals.slot, arriving.to(self.value.dtype))

    def take_as_they_are(self, arrivals: Arrivals, values: Float[Tensor, "item feature"]) -> None:
        """As `take`, all on one device; whether values fit half precision is seen when they are `moved`."""
        arriving = values.index_select(0, arrivals.item)
        self.value = room_for(self.value, arriving)
        self.value.index_copy_(0, arrivals.slot, arriving.to(self.value.dtype))

    def moved(self, device: torch.device) -> "SampledValues":
        """Returns them on a device, `compact`."""
        return SampledValues(moved(self.value, device))

    def merge(self, other: "SampledValues", kept: NDArray[np.int64]) -> "SampledValues":
        """Returns the values of a merged sample, in the places that `SampleIndex.merge` gave."""
        return SampledValues(torch.cat([self.value, other.value])[slots(kept)])


def slots(order: NDArray[np.int64]) -> Int64[Tensor, " slot"]:
    """Converts slot numbers to a tensor, to index sampled values with."""
    return torch.from_numpy(order)


def compact(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Converts to half precision, or to single precision if a value is larger than 65,504.

    Those that fit are rounded to half precision either way, so that no value depends on the others.
    """
    half = values.half()
    infinite = half.isinf()  # which minus infinity, at positions that do not count, is in both
    if not infinite.any() or not (beyond := infinite & values.isfinite()).any():
        return half
    return torch.where(beyond, values.float(), half.float())


def moved(kept: Float[Tensor, "*shape"], device: torch.device) -> Float[Tensor, "*shape"]:
    """Returns kept values on a device, `compact`, which they are not while they are gathered on a GPU."""
    return compact(kept).to(device) if kept.dtype != torch.float16 else kept.to(device)


def room_for(kept: Float[Tensor, "*shape"], new: Tensor) -> Float[Tensor, "*shape"]:
    """Returns `kept` in a precision that can also hold `new`: itself, or a copy in single precision."""
    return kept.to(torch.promote_types(kept.dtype, new.dtype))
