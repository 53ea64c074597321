"""Keeps the top windows of every feature over a stream of rows."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from interp.device import sent
from interp.mining.hits import Hits
from interp.mining.samples import compact, moved, room_for


@dataclass(frozen=True)
class RowInfo:
    """Where the rows of a batch come from, all [row]: document, start, content hash, and tie order.

    `fresh` is false for a row whose text is also in another row of the batch, of a lower document;
    `together` are the fresh rows of each document that has several of them, and `text` numbers the documents
    of the batch by their content.
    """

    document: Int64[Tensor, " row"]
    start: Int64[Tensor, " row"]
    hash: Int64[Tensor, " row"]
    tie: Int64[Tensor, " row"]
    fresh: Bool[Tensor, " row"]
    together: tuple[Int64[Tensor, " _"], ...]
    text: Int64[Tensor, " row"]

    def to(self, device: torch.device) -> "RowInfo":
        """Returns them on a device, but for `together`."""
        return RowInfo(
            document=sent(self.document, device),
            start=sent(self.start, device),
            hash=sent(self.hash, device),
            tie=sent(self.tie, device),
            fresh=sent(self.fresh, device),
            together=self.together,
            text=sent(self.text, device),
        )


def _pack(peaks: Float[Tensor, "*shape"], tie: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Packs a positive peak and its 32-bit tie order into one sortable integer.

    The bits of a positive float32 are ordered as the numbers are; the low 32 bits break ties.
    """
    return (peaks.view(torch.int32).to(torch.int64) << 32) | tie


def signed_rows(
    activations: Float[Tensor, "row pos d"],
    counts: Tensor | None,
    row: Int64[Tensor, " n"],
    feature: Int64[Tensor, " n"],
) -> Float[Tensor, "n pos"]:
    """Returns the given rows of the given features (from `d` on: negative polarity); -inf if not counted."""
    d, order = activations.shape[2], row.argsort()  # a row at a time, which the processor's cache can hold
    row, feature = row[order], feature[order]
    values = activations[row, :, feature % d]
    values *= (1.0 - 2.0 * (feature >= d).float())[:, None]
    if counts is not None:
        values.masked_fill_(~counts[row], -torch.inf)
    return torch.empty_like(values).index_copy_(0, order, values)


def _repeats(
    keys: Int64[Tensor, "feature window"],
    hashes: Int64[Tensor, "feature window"],
    documents: Int64[Tensor, "feature window"],
) -> Tensor:
    """Marks the windows whose document has a better window in the same line [feature, window]."""
    same = hashes[:, :, None] == hashes[:, None, :]
    better = keys[:, None, :] > keys[:, :, None]
    tied = keys[:, None, :] == keys[:, :, None]
    order = torch.arange(keys.shape[1], device=keys.device)
    first = (documents[:, None, :] < documents[:, :, None]) | (
        (documents[:, None, :] == documents[:, :, None]) & (order[None, None, :] < order[None, :, None])
    )
    active = (keys[:, :, None] > 0) & (keys[:, None, :] > 0)
    repeated: Tensor = (same & active & (better | (tied & first))).any(-1)
    return repeated


@dataclass
class TopWindows:
    """The `k` rows, from distinct documents, in which each feature peaks highest.

    All tensors are [feature, k] and in no order until `ordered`; `key` is 0 where nothing is kept. `values`
    [feature, k, width] are the row's activations, kept `compact`, the beginning-of-sequence token left out,
    -inf at positions that do not count and beyond the row's end; width 0 keeps pointers only.
    """

    key: Int64[Tensor, "feature k"]
    value: Float[Tensor, "feature k"]
    document: Int[Tensor, "feature k"]
    start: Int[Tensor, "feature k"]
    hash: Int64[Tensor, "feature k"]
    values: Float[Tensor, "feature k width"]

    @classmethod
    def empty(
        cls,
        n_features: int,
        k: int,
        width: int,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float16,
    ) -> "TopWindows":
        """Nothing kept yet."""
        shape = (n_features, k)
        return cls(
            key=torch.zeros(shape, dtype=torch.int64, device=device),
            value=torch.zeros(shape, device=device),
            document=torch.full(shape, -1, dtype=torch.int32, device=device),
            start=torch.zeros(shape, dtype=torch.int32, device=device),
            hash=torch.zeros(shape, dtype=torch.int64, device=device),
            values=torch.full((*shape, width), -torch.inf, dtype=dtype, device=device),
        )

    def moved(self, device: torch.device) -> "TopWindows":
        """Returns them on a device, their values `compact`."""
        plain = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "values"}
        return TopWindows(**plain, values=moved(self.values, device))

    def update(
        self,
        rows: RowInfo,
        peaks: Float[Tensor, "row feature"],
        activations: Float[Tensor, "row pos d"],
        counts: Tensor | None,
    ) -> None:
        """Takes in a batch.

        `peaks` hold every feature's largest counting activation in each row; its columns are the columns of
        `activations` and, if there are twice as many, of `-activations`. `counts` [row, pos] is given where
        some positions do not count.
        """
        k = self.key.shape[1]
        candidates = peaks >= self.value.min(dim=1).values.clamp(min=torch.finfo(torch.float32).tiny)
        candidates &= rows.fresh[:, None]
        for same in rows.together:
            best = _pack(peaks[same], rows.tie[same][:, None].expand(-1, peaks.shape[1])).argmax(0)
            candidates[same] &= torch.arange(len(same))[:, None] == best
        feature, row = candidates.T.nonzero(as_tuple=True)
        if len(feature) == 0:
            return
        features, place, per_feature = torch.unique_consecutive(
            feature, return_inverse=True, return_counts=True
        )
        rank = torch.arange(len(feature)) - (per_feature.cumsum(0) - per_feature)[place]
        new_rows = torch.zeros(len(features), int(per_feature.max()), dtype=torch.int64)
        new_rows[place, rank] = row
        new_keys = torch.zeros_like(new_rows)
        key = new_keys[place, rank] = _pack(peaks[row, feature], rows.tie[row])
        all_keys = torch.cat([self.key[features], new_keys], 1)
        if (self.key > 0).any():
            met, slot = (self.hash[feature] == rows.hash[row][:, None]).nonzero(as_tuple=True)
            old = self.key[feature[met], slot]
            earlier = self.document[feature[met], slot] <= rows.document[row[met]]
            stays = (old > key[met]) | ((old == key[met]) & earlier)
            all_keys[place[met], torch.where(stays, k + rank[met], slot)] = 0
        keeps = torch.zeros_like(all_keys, dtype=torch.bool).scatter_(
            1, all_keys.topk(k, dim=1).indices, True
        )
        self.key[features] = all_keys[:, :k]
        line, slot = (~keeps[:, :k]).nonzero(as_tuple=True)
        entering = keeps[:, k:].nonzero(as_tuple=True)
        feature, row = features[line], new_rows[entering]
        self.key[feature, slot] = all_keys[:, k:][entering]
        self.document[feature, slot] = rows.document[row].int()
        self.start[feature, slot] = rows.start[row].int()
        self.hash[feature, slot] = rows.hash[row]
        self.value[feature, slot] = torch.where(self.key[feature, slot] > 0, peaks[row, feature], 0.0)
        if self.values.shape[2]:
            window = compact(signed_rows(activations, counts, row, feature))
            self.values = room_for(self.values, window)
            self.values[feature, slot, : activations.shape[1]] = window.to(self.values.dtype)
            self.values[feature, slot, activations.shape[1] :] = -torch.inf

    def may_enter(self, rows: RowInfo, peaks: Float[Tensor, "row feature"], filling: bool) -> Hits:
        """Finds the rows of a batch that may enter, without waiting for the device; `enter` takes them in.

        While lists are `filling`, the k-th best document of the batch itself bounds what can enter: without
        that, nearly everything would.
        """
        k, least = self.key.shape[1], self.value.amin(1).clamp(min=torch.finfo(torch.float32).tiny)
        new = peaks.masked_fill(~rows.fresh[:, None], 0.0)
        if filling and len(new) >= k:
            by_text = new
            if rows.together:
                text = rows.text[:, None].expand_as(new)
                by_text = torch.zeros_like(new).scatter_reduce_(0, text, new, "amax")
            best = by_text.T.contiguous().topk(k, dim=1, sorted=False).values
            least = torch.maximum(least, best.amin(1))
        return Hits.of(new >= least)

    def enter(
        self,
        rows: RowInfo,
        peaks: Float[Tensor, "row feature"],
        activations: Float[Tensor, "row pos d"],
        counts: Tensor | None,
        hits: Hits,
        sizes: Sequence[int],
    ) -> None:
        """Takes in what `may_enter` found of a batch, as `update` would, by the `sizes` of the hits.

        Nothing here waits for the device: every shape follows from the sizes.
        """
        n_hits, n_lines, most = sizes
        if n_hits == 0:
            return
        at, k, n_texts = hits.laid(n_hits, n_lines), self.key.shape[1], len(rows.text)
        row, line = at.unit, at.line
        key = _pack(peaks[row, line], rows.tie[row])
        if rows.together:  # of a document's rows only the best
            text = at.place * n_texts + rows.text[row]
            best = key.new_zeros(n_lines * n_texts).scatter_reduce_(0, text, key, "amax")
            key = torch.where(best[text] == key, key, 0)
        same = self.hash[line] == rows.hash[row][:, None]
        met, slot = same.any(1), same.long().argmax(1)
        old = self.key[line, slot]
        stays = (old > key) | ((old == key) & (self.document[line, slot] <= rows.document[row]))
        nowhere = n_lines * k
        leaving = torch.where(met & ~stays, at.place * k + slot, nowhere)
        gone = torch.zeros(nowhere + 1, dtype=torch.bool, device=key.device).index_fill_(0, leaving, True)
        new = key.new_zeros(n_lines, most)
        new[at.place, at.rank] = torch.where(met & stays, 0, key)
        old_keys = self.key[at.lines].masked_fill_(gone[:nowhere].view(n_lines, k), 0)
        keys, column = torch.cat([old_keys, new], 1).topk(k, dim=1, sorted=False)
        came, empty = column >= k, keys == 0
        slot = column.clamp(max=k - 1)
        hit = (at.begins[:, None] + column - k).clamp(0, n_hits - 1)

        def chosen(kept: Tensor, entering: Tensor, nothing: int) -> Tensor:
            both = torch.where(came, entering[hit].to(kept.dtype), kept[at.lines].gather(1, slot))
            return both.masked_fill_(empty, nothing)

        if self.values.shape[2]:
            window = signed_rows(activations, counts, row, line)
            self.values = room_for(self.values, window)
            width = self.values.shape[2]
            kept = self.values[at.lines].view(nowhere, width)
            wide = kept.new_full((n_hits, width), -torch.inf)
            wide[:, : window.shape[1]] = window
            place = torch.arange(n_lines, device=hit.device)[:, None] * k + slot
            source = torch.where(came, nowhere + hit, place).flatten()
            self.values[at.lines] = torch.cat([kept, wide])[source].view(n_lines, k, width)
        self.value[at.lines] = chosen(self.value, peaks[row, line], 0)
        self.document[at.lines] = chosen(self.document, rows.document[row], -1)
        self.start[at.lines] = chosen(self.start, rows.start[row], 0)
        self.hash[at.lines] = chosen(self.hash, rows.hash[row], 0)
        self.key[at.lines] = keys

    def merge(self, other: "TopWindows") -> "TopWindows":
        """Returns the top windows of both parts of a corpus: exactly those that one pass would keep."""
        k = self.key.shape[1]
        joined = {f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)], 1) for f in fields(self)}
        key = joined["key"]
        key[_repeats(key, joined["hash"], joined["document"].long())] = 0
        return TopWindows(**joined)._take(key.topk(k, dim=1).indices)

    def ordered(self) -> "TopWindows":
        """Sorts the windows, highest peak first, empty places last."""
        return self._take(self.key.sort(dim=1, descending=True).indices)

    def _take(self, index: Int64[Tensor, "feature k"]) -> "TopWindows":
        taken = {}
        for field in fields(self):
            tensor = getattr(self, field.name)
            where = index if tensor.ndim == 2 else index[:, :, None].expand(-1, -1, tensor.shape[2])
            taken[field.name] = tensor.gather(1, where)
        empty = taken["key"] == 0
        taken["document"][empty] = -1
        taken["values"][empty] = -torch.inf
        for name in ("value", "start", "hash"):
            taken[name][empty] = 0
        return TopWindows(**taken)
