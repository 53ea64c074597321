"""Computes token-level quantiles of every feature, each with the error of its rank."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from interp.mining.extremes import N_SAMPLES, THINNING, Extremes
from interp.mining.samples import compact

LEVELS = (1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1 - 1e-4, 1 - 1e-5)
_VALUES_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 25}  # sorted with their weights: some 60 MB, and 2 GB


def quantiles(
    sampled: Float[Tensor, "token d"],
    extremes: Extremes,
    n_positive: Int64[Tensor, " d"],
    n_negative: Int64[Tensor, " d"],
    n_tokens: int,
) -> tuple[Float[Tensor, "d level"], NDArray[np.float64]]:
    """Computes quantiles of the signed activation at `LEVELS`, and half-widths of the ranks' 95% intervals.

    The p-quantile of n values is the ceil(p n)-th smallest. How many values are above and below zero is known
    exactly, so each side is treated by itself: its rank-th largest value is exact among the extremes of all
    tokens (error 0). Further in, each value counts for as many tokens as there are for each of the densest
    sample that reaches in to it: 8, 64, ..., and n / S for the S tokens sampled whole (`rank_error`).
    A space that is not signed has no extremes below zero, and its negative values, if any, are the sample's.
    """
    d, kept = sampled.shape[1], extremes.n_kept
    if not n_tokens:
        return torch.zeros(d, len(LEVELS), device=sampled.device), np.zeros(len(LEVELS))
    signed = extremes.n_lines == 2 * d
    ranks = [max(1, int(np.ceil(level * n_tokens - 1e-9))) for level in LEVELS]
    from_top = [n_tokens - rank + 1 for rank in ranks]
    largest = extremes.value
    above = largest[:, :d]
    below = largest[:, d:] if signed else above[..., :0]
    found = torch.empty(d, len(LEVELS), device=sampled.device)
    at_once = max(1, _VALUES_AT_ONCE[sampled.device.type] // max(1, len(sampled)))
    for start in range(0, d, at_once):
        part = slice(start, start + at_once)
        values = sampled[:, part].float()
        upper = _from_top(values, above[:, part], n_positive[part], n_tokens, from_top)
        lower = _from_top(-values, below[:, part], n_negative[part], n_tokens, ranks)
        found[part] = torch.where(upper > 0, upper, -lower)
    error = [
        rank_error(min(rank, top), n_tokens, kept if signed or top <= rank else 0, len(sampled)) / n_tokens
        for rank, top in zip(ranks, from_top, strict=True)
    ]
    if not bool(n_negative.any()):  # what lies below the positive values is 0
        most = int(n_positive.max())
        error = [0.0 if most < top else one for one, top in zip(error, from_top, strict=True)]
    return found, np.array(error)


def _from_top(
    sampled: Float[Tensor, "token d"],
    extremes: Float[Tensor, "sample d m"],
    count: Int64[Tensor, " d"],
    n_tokens: int,
    ranks: list[int],
) -> Float[Tensor, "d rank"]:
    """Returns each feature's rank-th largest values; 0 for ranks beyond its `count` positive ones."""
    d, kept = len(count), extremes.shape[2]
    parts = []
    if kept and n_tokens > len(sampled):
        parts = [(float(THINNING**i), extremes[i]) for i in range(_used(n_tokens, len(sampled)) + 1)]
    reach, values, weights = torch.full((d, 1), torch.inf, device=sampled.device), [], []
    for weight, part in parts:
        floor = part.amin(1, keepdim=True)  # values below are not all kept; the next sample estimates them
        inside = (part > floor) & (part <= reach)
        values.append(part * inside)
        weights.append(weight * inside.double())
        reach = floor
    # Rounding keeps the order: what is rounded above the reach lay above it.
    inside = (sampled.T > 0) & (compact(reach).float() >= sampled.T)
    values.append(sampled.T * inside)
    weights.append(n_tokens / max(1, len(sampled)) * inside.double())
    value, order = torch.cat(values, 1).sort(dim=1, descending=True, stable=True)
    share = torch.cat(weights, 1).gather(1, order)
    estimated = torch.where(share > 1, share, 0.0).sum(1, keepdim=True)
    known = torch.where(share > 1, 0.0, share).sum(1, keepdim=True)
    scale = (count[:, None] - known).clamp(min=0) / estimated.clamp(min=1)
    reached = torch.where(share > 1, share * scale, share).cumsum(1)
    wanted = torch.tensor(ranks, dtype=torch.double, device=value.device).expand(d, -1).contiguous()
    last = (value > 0).sum(1, keepdim=True) - 1
    place = torch.minimum(torch.searchsorted(reached, wanted - 1e-6), last).clamp(min=0)
    found = value.gather(1, place)
    exact = [column for column, rank in enumerate(ranks) if rank <= kept]
    if exact:
        largest = extremes[0].sort(dim=1, descending=True).values
        found[:, exact] = largest[:, [ranks[column] - 1 for column in exact]]
    return torch.where(wanted <= count[:, None], found, 0.0)


def _used(n_tokens: int, sampled: int) -> int:
    """Returns how many of the sparser samples have more tokens than the sample of all features' values."""
    return sum(n_tokens / THINNING**level > sampled for level in range(1, N_SAMPLES + 1))


def rank_error(rank: int, n_tokens: int, kept: int, sampled: int) -> float:
    """Returns the half-width of the 95% interval of the rank, from the nearer end, that a value estimates.

    1.96 times the root of the sum, over the parts that lie between the end and the rank, of N (w - 1): N are
    the part's values, one in w of which is kept. With 48 extremes that is at most 0.42 of the rank.
    """
    variance, begins = 0.0, 0.0
    weights = [float(THINNING**level) for level in range(_used(n_tokens, sampled) + 1)] if kept else []
    for weight in weights:
        ends = min(float(rank), kept * weight)
        variance += max(0.0, ends - begins) * (weight - 1)
        begins = max(begins, ends)
    weight = n_tokens / max(1, sampled)
    variance += max(0.0, rank - begins) * (1 - rank / n_tokens) * (weight - 1)
    return 1.96 * float(np.sqrt(max(0.0, variance)))
