"""The mining state of one feature space on one split."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from interp.errors import UserError
from interp.features.space import ReadableFeatures
from interp.mining.config import MiningConfig
from interp.mining.extremes import GROUP, Extremes, by_group
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


@dataclass
class SpaceState:
    """Top windows, samples, extremes and moments of one feature space on one split.

    `rows` hold every line's peak in each sampled row, `tokens` the signed activation at each sampled token.
    Features are numbered with the positive polarity first: `n_features` of them, then, if the space is
    signed, the negative ones. Moments are over the `n_tokens` counting tokens, of the signed activation;
    `total` is in units of `TOTAL_UNIT`, an integer so that sums do not depend on their order.
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

    @classmethod
    def empty(cls, space: ReadableFeatures, config: MiningConfig, n_windows: int, full: bool) -> "SpaceState":
        """Makes an empty state; `full` also keeps the top windows' activations and the extremes."""
        d = space.n_features
        n = 2 * d if space.signed else d
        return cls(
            space.signed,
            TopWindows.empty(n, n_windows, config.context_size if full else 0),
            Extremes.empty(n, config.extreme_tokens if full else 0),
            SampledValues.empty(config.sampled_rows, n),
            SampledValues.empty(config.sampled_tokens, d),
            torch.zeros(d, dtype=torch.int64),
            torch.zeros(d, dtype=torch.int64),
            torch.zeros(d, dtype=torch.int64),
            0,
        )

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
            raise UserError(
                "the model computes activations that are not finite numbers", "mining", "use dtype float32"
            )
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
        """Returns the state of both parts of a corpus; `rows` and `tokens` are from `SampleIndex.merge`."""
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
