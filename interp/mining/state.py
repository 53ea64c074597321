"""The mining state of one feature space on one split."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from interp.device import Awaited, sent
from interp.errors import UserError
from interp.features.space import ReadableFeatures
from interp.mining.config import MiningConfig
from interp.mining.extremes import FILLING, GROUP, Extremes, Offer, by_group
from interp.mining.hits import N_SIZES, Hits
from interp.mining.moments import moments_on_device
from interp.mining.samples import Arrivals, SampledValues
from interp.mining.windows import RowInfo, TopWindows

TOTAL_UNIT = 2.0**-20
_IN_CACHE = 1 << 18
"""Activations that are summed up at a time, 1 MiB: what several passes cost is memory traffic."""


@dataclass(frozen=True)
class BatchView:
    """The data of a batch that every space needs, computed once."""

    rows: RowInfo
    counts: Tensor | None
    """[row, pos] where some position does not count, else None; the beginning-of-sequence token cut off."""
    n_counted: int
    offset: int
    sampled_rows: Arrivals
    sampled_tokens: Arrivals
    thinned_tokens: list[Int64[Tensor, " _"]]

    def to(self, device: torch.device) -> "BatchView":
        """Returns it on a device, which the host does not wait for."""
        if device.type == "cpu":
            return self
        return replace(
            self,
            rows=self.rows.to(device),
            counts=None if self.counts is None else sent(self.counts, device),
            sampled_rows=self.sampled_rows.to(device),
            sampled_tokens=self.sampled_tokens.to(device),
            thinned_tokens=[sent(places, device) for places in self.thinned_tokens],
        )


@dataclass(frozen=True)
class Begun:
    """What a batch may add, found on a device; `numbers` are sizes of all hits, and whether all is finite."""

    view: BatchView
    activations: Float[Tensor, "row pos d"]
    peaks: Float[Tensor, "row feature"]
    n_groups: int
    windows: Hits
    offers: Sequence[Offer]
    numbers: Awaited


@dataclass
class SpaceState:
    """Top windows, samples, extremes and moments of one feature space on one split.

    `rows` hold every line's peak in each sampled row, `tokens` the signed activation at each sampled token.
    Features are numbered with the positive polarity first: `n_features` of them, then, if the space is
    signed, the negative ones. Moments are over the `n_tokens` counting tokens, of the signed activation;
    `total` is in units of `TOTAL_UNIT`, an integer so that sums do not depend on their order.

    On a GPU a batch is taken in two halves, `begin` and `finish`, of which neither waits for the other side:
    what a batch adds is counted by the device, and merged when the host has the counts, a layer later. On a
    CPU that would cost passes over memory, so what a batch adds is looked up at once (`update`). Both give
    the same bits, which a test holds them to. Values gathered on a GPU are `compact` once they are `moved`.
    """

    signed: bool
    windows: TopWindows
    extremes: Extremes
    rows: SampledValues
    tokens: SampledValues
    total: Int64[Tensor, " d"]
    n_positive: Int64[Tensor, " d"]
    n_negative: Int64[Tensor, " d"]
    n_tokens: int
    _begun: Begun | None = field(default=None, repr=False, compare=False)

    @classmethod
    def empty(
        cls,
        space: ReadableFeatures,
        config: MiningConfig,
        n_windows: int,
        full: bool,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float16,
    ) -> "SpaceState":
        """Makes an empty state; `full` also keeps the top windows' activations and the extremes."""
        d = space.n_features
        n = 2 * d if space.signed else d
        return cls(
            space.signed,
            TopWindows.empty(n, n_windows, config.context_size if full else 0, device, dtype),
            Extremes.empty(n, config.extreme_tokens if full else 0, device),
            SampledValues.empty(config.sampled_rows, n, device, dtype),
            SampledValues.empty(config.sampled_tokens, d, device, dtype),
            torch.zeros(d, dtype=torch.int64, device=device),
            torch.zeros(d, dtype=torch.int64, device=device),
            torch.zeros(d, dtype=torch.int64, device=device),
            0,
        )

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.total.device

    def moved(self, device: torch.device) -> "SpaceState":
        """Returns it on a device, finished, with the values that it keeps `compact`."""
        self.finish()
        return SpaceState(
            self.signed,
            self.windows.moved(device),
            self.extremes.moved(device),
            self.rows.moved(device),
            self.tokens.moved(device),
            self.total.to(device),
            self.n_positive.to(device),
            self.n_negative.to(device),
            self.n_tokens,
        )

    def take(self, activations: Float[Tensor, "row pos d"], view: BatchView) -> None:
        """Takes in the space's activations on a batch; on a GPU, `finish` ends it.

        Raises:
            UserError: an activation is not a finite number.
        """
        if self.device.type == "cpu":
            self.update(activations, view)
        else:
            self.begin(activations, view)

    def begin(self, activations: Float[Tensor, "row pos d"], view: BatchView) -> None:
        """Takes in a batch on a device without waiting for it, but for what `finish` merges.

        Raises:
            UserError: an activation of the batch before is not a finite number.
        """
        self.finish()
        x = activations[:, view.offset :]
        width = GROUP if self.extremes.n_kept else x.shape[1]
        total, n_positive, n_negative, groups = moments_on_device(x, view.counts, self.signed, width)
        self.n_positive += n_positive
        self.n_negative += n_negative
        self.total += (total.double() / TOTAL_UNIT).round().long()
        highest = groups.amax(1)
        peaks = highest.float()
        filling = self.n_tokens < FILLING * view.n_counted
        self.n_tokens += view.n_counted
        flat = activations.reshape(-1, activations.shape[2])
        windows = self.windows.may_enter(view.rows, peaks, filling)
        offers = self.extremes.may_enter(peaks, groups, flat, view.thinned_tokens, filling)
        self.rows.take_as_they_are(view.sampled_rows, highest)
        self.tokens.take_as_they_are(view.sampled_tokens, flat)
        sizes = [hits.sizes() for hits in (windows, *(offer.hits for offer in offers))]
        numbers = torch.cat([*sizes, torch.isfinite(total).all().long()[None]])
        self._begun = Begun(view, x, peaks, groups.shape[1], windows, offers, Awaited(numbers))

    def finish(self) -> None:
        """Merges what a batch adds, if one was begun; on a CPU nothing is.

        Raises:
            UserError: an activation of the batch is not a finite number.
        """
        if self._begun is None:
            return
        begun, self._begun = self._begun, None
        with torch.inference_mode():
            self.merge_begun(begun, begun.numbers.read())

    def merge_begun(self, begun: Begun, numbers: Sequence[int]) -> None:
        """Merges what a batch adds, given the sizes that the device counted; waits for nothing."""
        if not numbers[-1]:
            raise _not_finite()
        x, counts = begun.activations, begun.view.counts
        each = [numbers[start : start + N_SIZES] for start in range(0, len(numbers) - 1, N_SIZES)]
        self.windows.enter(begun.view.rows, begun.peaks, x, counts, begun.windows, each[0])
        for offer, sizes in zip(begun.offers, each[1:], strict=True):
            self.extremes.enter(offer, sizes, begun.n_groups, x, counts)

    def update(self, activations: Float[Tensor, "row pos d"], view: BatchView) -> None:
        """Takes in the space's activations on a batch.

        Raises:
            UserError: an activation is not a finite number.
        """
        x = activations[:, view.offset :].float().cpu()
        parts = [
            self._summary(
                x[start : start + n], None if view.counts is None else view.counts[start : start + n]
            )
            for n in [max(1, _IN_CACHE // x[0].numel())]
            for start in range(0, len(x), n)
        ]
        sums, signs, nonzeros, groups = (torch.cat(part) for part in zip(*parts, strict=True))
        total, positive_less_negative, nonzero = sums.sum(0), signs.sum(0), nonzeros.sum(0)
        peaks = groups.amax(1)
        if not torch.isfinite(total).all():
            raise _not_finite()
        self.n_positive += (nonzero + positive_less_negative).long() // 2
        self.n_negative += (nonzero - positive_less_negative).long() // 2
        self.total += (total.double() / TOTAL_UNIT).round().long()
        self.n_tokens += view.n_counted
        self.windows.update(view.rows, peaks, x, view.counts)
        self.extremes.update(peaks, groups, x, view.counts)
        self.rows.take(view.sampled_rows, peaks)
        flat = activations.reshape(-1, activations.shape[2])
        self.extremes.update_samples(flat, view.thinned_tokens)
        self.tokens.take(view.sampled_tokens, flat)

    def _summary(
        self, x: Float[Tensor, "row pos d"], counts: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums of values, signs and what is not zero [row, d], and peaks [row, group, line].

        Where no extremes are kept, a row is one group.
        """
        room = torch.empty_like(x)
        mask = hidden = None
        if counts is not None:
            mask = counts.float()[:, :, None]
            hidden = torch.where(counts, 0.0, -torch.inf)[:, :, None]
        counted = x if mask is None else torch.mul(x, mask, out=room)
        total = counted.sum(1)
        sign = torch.sign(counted, out=room)
        signs, nonzero = sign.sum(1), sign.abs_().sum(1)
        width = GROUP if self.extremes.n_kept else x.shape[1]
        groups = by_group(torch.amax, x if hidden is None else torch.add(x, hidden, out=room), width)
        if self.signed:
            low = by_group(torch.amin, x if hidden is None else torch.sub(x, hidden, out=room), width)
            groups = torch.cat([groups, low.neg_()], 2)
        return total, signs, nonzero, groups

    def merge(self, other: "SpaceState", rows: NDArray[np.int64], tokens: NDArray[np.int64]) -> "SpaceState":
        """Returns the state of both parts of a corpus, on the CPU.

        `rows` and `tokens` are from `SampleIndex.merge`.
        """
        here = torch.device("cpu")
        if self.device != here or other.device != here:
            return self.moved(here).merge(other.moved(here), rows, tokens)
        return SpaceState(
            self.signed,
            self.windows.merge(other.windows),
            self.extremes.merge(other.extremes),
            self.rows.merge(other.rows, rows),
            self.tokens.merge(other.tokens, tokens),
            self.total + other.total,
            self.n_positive + other.n_positive,
            self.n_negative + other.n_negative,
            self.n_tokens + other.n_tokens,
        )


def _not_finite() -> UserError:
    return UserError(
        "the model computes activations that are not finite numbers", "mining", "use dtype float32"
    )
