"""Gathers the texts that a judge sees: with the feature, and without it, half of these hard negatives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from interp.descriptions.candidate import Shown
from interp.descriptions.evidence import Window
from interp.descriptions.excerpt import Excerpt, excerpts
from interp.descriptions.scorers.negatives import Neighbourhood
from interp.descriptions.windows import Place, read_windows, refs
from interp.document import Corpus, Split
from interp.features.ref import FeatureRef
from interp.mining.exemplars import SILENT_SHARE, Exemplars
from interp.mining.mined import MinedSpace, MinedSpaces
from interp.subject.subject import Subject
from interp.track.progress import Progress

NEIGHBOURS = 6
WINDOWS_A_NEIGHBOUR = 4
WEAK_SHARE = 0.3
"""Largest share of its peak at which a feature that is seldom silent counts as absent from a text."""
ACTIVE_SHARE = 0.3
"""Least share of a text's own peak at which a token of it is marked."""


@dataclass(frozen=True)
class JudgedTexts:
    """One feature's texts: `active` has it, `silent` has not, and `hard` of these are hard negatives.

    `marked` are active texts with the tokens that fire marked, `mismarked` the same texts with as many other
    tokens marked.
    """

    active: tuple[Shown, ...]
    silent: tuple[Shown, ...]
    marked: tuple[Shown, ...]
    mismarked: tuple[Shown, ...]
    hard: int


def gather_texts(
    subject: Subject,
    corpus: Corpus,
    features: Sequence[FeatureRef],
    mined: MinedSpaces,
    split: Split,
    n: int,
    context_size: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[JudgedTexts]:
    """Gathers up to `n` texts of either kind for each feature, from one split.

    Half of those with the feature are its strongest windows, half come from all bands of its activation.
    Hard negatives are windows on which a neighbour fires (`negatives.Neighbourhood`) and the feature stays
    under `SILENT_SHARE` of its peak; the rest are silent windows drawn at random. If there are too few,
    windows under `WEAK_SHARE` of the peak are added.
    """
    spaces = {feature.space.name: feature.space for feature in features}
    near = {name: Neighbourhood(space, mined[name].samples.get(split)) for name, space in spaces.items()}
    wanted = [
        _wanted(feature, mined[feature.space.name], near[feature.space.name], split, n)
        for feature in features
    ]
    places = [
        Place(feature, *row) for feature, rows in zip(features, wanted, strict=True) for row in rows.all
    ]
    windows = iter(read_windows(subject, corpus, places, context_size, progress=progress))
    gathered = []
    for feature, rows in zip(features, wanted, strict=True):
        top, bands, hard, random = ([next(windows) for _ in part] for part in rows.parts)
        rng = np.random.default_rng([seed, *feature.seed])
        active = excerpts(subject, _alternating(_positive(top), _positive(bands), n))
        largest = max((one.peak for one in active), default=0.0)
        (hard_ones, weak_hard), (easy_ones, weak_easy) = (
            _silent(windows_of, largest, rng) for windows_of in (hard, random)
        )
        hard_ones = hard_ones[: n // 2]
        silent = excerpts(subject, _distinct([*hard_ones, *easy_ones, *weak_hard, *weak_easy])[:n])
        pairs = [pair for one in active if (pair := _marks(one, rng)) is not None]
        gathered.append(
            JudgedTexts(
                tuple(Shown(one) for one in active),
                tuple(Shown(one) for one in silent),
                tuple(Shown(one, right) for one, right, _ in pairs),
                tuple(Shown(one, wrong) for one, _, wrong in pairs),
                len(hard_ones),
            )
        )
    return gathered


@dataclass(frozen=True)
class _Wanted:
    """Rows (document, start) of each kind: top, bands, those of neighbours, random."""

    parts: tuple[list[tuple[int, int]], ...]

    @property
    def all(self) -> list[tuple[int, int]]:
        return [row for part in self.parts for row in part]


def _wanted(feature: FeatureRef, mined: MinedSpace, near: Neighbourhood, split: Split, n: int) -> _Wanted:
    found = mined.exemplars[split]
    own = refs(found, feature)
    rivals = near.of(feature, NEIGHBOURS)
    return _Wanted(
        (
            [(ref.document, ref.start) for ref in own if ref.band == "top"],
            [(ref.document, ref.start) for ref in own if ref.band == "quantile"],
            [row for other in rivals for row in _top(found, other)[:WINDOWS_A_NEIGHBOUR]],
            list(zip(found.row_document[: 3 * n].tolist(), found.row_start[: 3 * n].tolist(), strict=True)),
        )
    )


def _top(exemplars: Exemplars, feature: FeatureRef) -> list[tuple[int, int]]:
    return [(ref.document, ref.start) for ref in refs(exemplars, feature) if ref.band == "top"]


def _positive(windows: Sequence[Window]) -> list[Window]:
    return [one for one in windows if one.values[one.counts].max(initial=0.0) > 0]


def _alternating(first: Sequence[Window], second: Sequence[Window], n: int) -> list[Window]:
    """Up to `n`, half of each where there are enough; no text twice."""
    half = max(n // 2, n - len(second))
    return _distinct([*first[:half], *second, *first[half:]])[:n]


def _distinct(windows: Sequence[Window]) -> list[Window]:
    """Each text once, where it comes first."""
    return list({window.tokens.tobytes(): window for window in windows}.values())


def _silent(
    windows: Sequence[Window], largest: float, rng: np.random.Generator
) -> tuple[list[Window], list[Window]]:
    """Each text once: those on which the feature is silent, in random order, and those on which it is weak.

    The weak ones come the weakest first; a dense feature is never silent.
    """
    texts = _distinct([window for window in windows if window.counts.any()])
    found = [(float(window.values[window.counts].max()), window) for window in texts]
    quiet = [window for peak, window in found if peak <= SILENT_SHARE * largest]
    weak = [one for one in found if SILENT_SHARE * largest < one[0] <= WEAK_SHARE * largest]
    order = rng.permutation(len(quiet))
    return [quiet[place] for place in order], [one for _, one in sorted(weak, key=lambda one: one[0])]


def _marks(
    one: Excerpt, rng: np.random.Generator
) -> tuple[Excerpt, Bool[np.ndarray, " token"], Bool[np.ndarray, " token"]] | None:
    """The tokens that fire, and as many others; None where too few others are there."""
    right = one.counts & (one.values >= ACTIVE_SHARE * one.peak) & (one.values > 0)
    others = np.flatnonzero(one.counts & (one.values <= SILENT_SHARE * one.peak))
    if not right.any() or len(others) < right.sum():
        return None
    wrong = np.zeros(len(right), dtype=np.bool_)
    wrong[rng.choice(others, size=int(right.sum()), replace=False)] = True
    return one, right, wrong
