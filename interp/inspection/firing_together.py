"""Which features fire with one feature: the correlation of their activations, beside shuffled documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.document import Corpus
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import Polarity, ReadableFeatures, polarities
from interp.inspection.evidence import some_batches
from interp.statistics.estimate import Estimate, central, resamples
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.progress import Progress

TOKENS = 20_000
"""Tokens that are read."""
SHUFFLES = 5
"""Ways in which the feature is read on other documents than its companions, for the null."""
GROUPS = 40
"""Groups of documents, which are drawn anew for the intervals."""
DRAWS = 1000


class Companion(NamedTuple):
    """A feature that fires with another: the correlation with its 95% interval, over groups of documents."""

    key: str
    correlation: Estimate


@dataclass(frozen=True)
class Companions:
    """The features whose activation correlates most with one's, over tokens; each side of a feature is one.

    Activations below zero count as zero. `null` is the largest correlation of any of the `n_features` when
    the feature is read on other documents than they are, at the same positions: mean and range over
    `SHUFFLES` shuffles; NaN where there are too few documents.
    """

    corpus: str
    n_documents: int
    n_tokens: int
    n_features: int
    found: tuple[Companion, ...]
    null: Estimate


@dataclass
class _Sums:
    """Sums over tokens for one side of the features of a space: by group of documents, and shuffled."""

    y: Float[Tensor, "group d"]
    yy: Float[Tensor, "group d"]
    xy: Float[Tensor, "group d"]
    shuffled: Float[Tensor, "three shuffle d"]

    @classmethod
    def zero(cls, d: int) -> "_Sums":
        """Nothing added yet."""
        y, yy, xy = torch.zeros(3, GROUPS, d, dtype=torch.double)
        return cls(y, yy, xy, torch.zeros(3, SHUFFLES, d, dtype=torch.double))

    def add(
        self,
        y: Float[Tensor, "token d"],
        groups: Float[Tensor, "group token"],
        x: Float[Tensor, " token"],
        both: Float[Tensor, "shuffle token"],
        others: Float[Tensor, "shuffle token"],
    ) -> None:
        """Adds the tokens of a batch; a token that does not count is in no group."""
        first = (torch.cat([groups, groups * x, both, others]) @ y).double().cpu()
        second = (torch.cat([groups, both]) @ (y * y)).double().cpu()
        self.y += first[:GROUPS]
        self.xy += first[GROUPS : 2 * GROUPS]
        self.yy += second[:GROUPS]
        beside, across = first[2 * GROUPS :].view(2, SHUFFLES, -1)
        self.shuffled += torch.stack([beside, second[GROUPS:], across])


def companions(
    subject: Subject,
    corpus: Corpus,
    spaces: Sequence[ReadableFeatures],
    feature: FeatureRef,
    most_tokens: int = TOKENS,
    k: int = 15,
    progress: Progress | None = None,
    seed: int = 0,
) -> Companions:
    """Reads a feature and all features of some spaces on documents that are spread over a text, in one pass.

    Raises:
        UserError: the feature is active nowhere there.
    """
    sums = {
        (space.name, side): _Sums.zero(space.n_features) for space in spaces for side in polarities(space)
    }
    own = torch.zeros(3, GROUPS, dtype=torch.double)
    own_shuffled = torch.zeros(3, SHUFFLES, dtype=torch.double)
    read: set[int] = set()
    sites: dict[Site, list[ReadableFeatures]] = {}
    for space in spaces:
        sites.setdefault(space.site, []).append(space)
    for batch, tokens, mask in some_batches(subject, corpus, most_tokens, progress):
        read.update(batch.document.tolist())
        x = _activation(subject, feature, tokens, mask)
        counts = torch.from_numpy(batch.counts).to(x)
        groups = _groups(batch.document).to(x)[:, :, None] * counts
        others, both = _elsewhere(x, counts, torch.from_numpy(batch.document).to(x.device))
        own += (
            torch.stack([(groups * part).sum((1, 2)) for part in (torch.ones_like(x), x, x * x)])
            .double()
            .cpu()
        )
        own_shuffled += torch.stack([one.sum((1, 2)) for one in (both, others, others**2)]).double().cpu()
        rows = [groups.flatten(1), x.flatten(), both.flatten(1), others.flatten(1)]
        visitors = {site: partial(_visit, here=here, rows=rows, sums=sums) for site, here in sites.items()}
        subject.visit(tokens, visitors, mask)
    if not float(own[1].sum()):
        raise UserError(
            f"{feature.key} is not active on this text", corpus.name, "give more text, or another"
        )
    parts = [(space, side, sums.pop((space.name, side))) for space in spaces for side in polarities(space)]
    return _told(corpus.name, len(read), feature, parts, own.numpy(), own_shuffled.numpy(), k, seed)


def _visit(
    activation: Tensor,
    here: Sequence[ReadableFeatures],
    rows: Sequence[Tensor],
    sums: Mapping[tuple[str, Polarity], _Sums],
) -> None:
    for space in here:
        values = space.encode(activation).float().flatten(0, 1)
        for side in polarities(space):
            sums[space.name, side].add((values * side).clamp(min=0), *rows)


def _groups(documents: Int[np.ndarray, " row"]) -> Float[Tensor, "group row"]:
    """Which group of documents each row is in."""
    of = np.random.default_rng(0).permutation(GROUPS)[documents % GROUPS]
    return torch.nn.functional.one_hot(torch.from_numpy(of), GROUPS).T.float()


def _elsewhere(
    x: Float[Tensor, "row pos"], counts: Float[Tensor, "row pos"], document: Int[Tensor, " row"]
) -> tuple[Float[Tensor, "shuffle row pos"], Float[Tensor, "shuffle row pos"]]:
    """The feature's activation on other rows, at the same positions, and where both count.

    Rows of one document are never put beside each other.
    """
    steps = [max(1, len(x) * part // (SHUFFLES + 1)) for part in range(1, SHUFFLES + 1)]
    orders = [torch.arange(len(x), device=x.device).roll(step) for step in steps]
    apart = torch.stack([document[order] != document for order in orders]).to(x)[:, :, None]
    both = torch.stack([counts[order] * counts for order in orders]) * apart
    return torch.stack([x[order] for order in orders]) * both, both


def _activation(
    subject: Subject, feature: FeatureRef, tokens: Int[Tensor, "row pos"], mask: Int[Tensor, "row pos"]
) -> Float[Tensor, "row pos"]:
    """The feature's activation on its side, zero below."""
    read: list[Tensor] = []

    def visit(activation: Tensor) -> None:
        one = feature.space.encode(activation)[..., feature.feature_id].float() * feature.polarity
        read.append(one.clamp(min=0))

    subject.visit(tokens, {feature.space.site: visit}, mask)
    return read[0].clone()


def _told(
    corpus: str,
    n_documents: int,
    feature: FeatureRef,
    parts: Sequence[tuple[ReadableFeatures, Polarity, _Sums]],
    own: Float[np.ndarray, "three group"],
    shuffled: Float[np.ndarray, "three shuffle"],
    k: int,
    seed: int,
) -> Companions:
    drawn = resamples(GROUPS, DRAWS, np.random.default_rng(seed)).astype(float)
    found: list[tuple[float, str, Estimate]] = []
    highest: list[Float[np.ndarray, " shuffle"]] = []
    n_features = 0
    for space, side, sums in parts:
        y, yy, xy = sums.y.numpy(), sums.yy.numpy(), sums.xy.numpy()
        r = _correlation(own.sum(1), y.sum(0), yy.sum(0), xy.sum(0))
        chance = _correlation(shuffled[:, :, None], *sums.shuffled.numpy())
        if space.name == feature.space.name:  # neither side of the feature itself
            r[feature.feature_id] = chance[:, feature.feature_id] = np.nan
        highest.append(np.nan_to_num(chance, nan=-1.0).max(1))
        n_features += int((~np.isnan(r)).sum())
        for place in np.argsort(-np.nan_to_num(r, nan=-2.0))[:k]:
            if not np.isnan(r[place]):
                sides = (y[:, place], yy[:, place], xy[:, place])
                ends = central(_correlation(own @ drawn.T, *(drawn @ one for one in sides)))
                key = FeatureRef(space, int(place), side).key
                found.append((float(r[place]), key, Estimate(float(r[place]), *ends)))
    found.sort(key=lambda one: -one[0])
    largest = np.max(highest, axis=0)
    null = Estimate(float(largest.mean()), float(largest.min()), float(largest.max()))
    return Companions(
        corpus, n_documents, int(own[0].sum()), n_features,
        tuple(Companion(key, estimate) for _, key, estimate in found[:k]),
        null if shuffled[0].min() > 0 else Estimate(),
    )  # fmt: skip


def _correlation(
    own: Float[np.ndarray, "three ..."], y: np.ndarray, yy: np.ndarray, xy: np.ndarray
) -> np.ndarray:
    """Pearson's r from sums; `own` are the number of tokens, and the sums of x and of its square."""
    n, x, xx = own
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.maximum(n * xx - x**2, 0) * np.maximum(n * yy - y**2, 0))
        return np.where(spread > 1e-9 * n, (n * xy - x * y) / spread, np.nan)
