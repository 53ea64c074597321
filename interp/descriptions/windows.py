"""Reads windows from pointers: the text, with true activations, for making and scoring descriptions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.corpus.batches import Batch, Row, collate
from interp.descriptions.evidence import Evidence, Window
from interp.document import Corpus
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.mining.exemplars import Exemplars, WindowRef
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent


@dataclass(frozen=True)
class Place:
    """A row of the corpus on which a feature is read."""

    feature: FeatureRef
    document: int
    start: int


def read_windows(
    subject: Subject,
    corpus: Corpus,
    places: Sequence[Place],
    context_size: int,
    tokens_per_batch: int = 4096,
    progress: Progress | None = None,
) -> list[Window]:
    """Runs each distinct row once and reads from it every feature that is asked for, in the order given.

    `context_size` is that of mining: rows are cut as they were then.
    """
    offset = subject.row_layout.offset
    asked: dict[tuple[int, int], list[int]] = {}
    for number, place in enumerate(places):
        asked.setdefault((place.document, place.start), []).append(number)
    rows = []
    for index, start in asked:
        document = corpus[index]
        rows.append(Row(index, document, start, min(context_size - offset, len(document.tokens) - start)))
    rows.sort(key=lambda row: (-row.length, row.index, row.start))  # the longest of a part is its width
    windows: list[Window | None] = [None] * len(places)
    with (progress or silent()).task("reading windows", total=len(rows), unit="windows") as advance:
        while rows:
            part = rows[: max(1, tokens_per_batch // (rows[0].length + offset))]
            rows = rows[len(part) :]
            batch = collate(part, subject.row_layout)
            wanted = [(r, number) for r, row in enumerate(part) for number in asked[row.index, row.start]]
            for number, values in _read(subject, batch, places, wanted).items():
                row = part[values.row]
                inside = slice(batch.offset, batch.offset + row.length)
                windows[number] = Window(
                    row.tokens,
                    values.values[: row.length],
                    row.index,
                    batch.counts[values.row, inside],
                    row.start,
                )
            advance(len(part))
    assert all(window is not None for window in windows)
    return [window for window in windows if window is not None]


@dataclass(frozen=True)
class _Values:
    row: int
    values: NDArray[np.float64]


def _read(
    subject: Subject, batch: Batch, places: Sequence[Place], wanted: Sequence[tuple[int, int]]
) -> dict[int, _Values]:
    """Reads the activations of each wanted (row, place) in one forward pass."""
    found: dict[int, _Values] = {}
    spaces: dict[Site, dict[str, ReadableFeatures]] = {}
    by_space: dict[str, list[tuple[int, int]]] = {}
    for row, number in wanted:
        space = places[number].feature.space
        spaces.setdefault(space.site, {})[space.name] = space
        by_space.setdefault(space.name, []).append((row, number))

    def visitor(here: dict[str, ReadableFeatures]) -> Callable[[Tensor], None]:
        def visit(activation: Tensor) -> None:
            for name, space in here.items():
                pairs = by_space[name]
                features = [places[number].feature for _, number in pairs]
                columns = space.encode(activation[:, batch.offset :])[
                    [row for row, _ in pairs], :, [feature.feature_id for feature in features]
                ]
                polarity = np.array([feature.polarity for feature in features])[:, None]
                values = columns.double().cpu().numpy() * polarity
                for (row, number), line in zip(pairs, values, strict=True):
                    found[number] = _Values(row, line)

        return visit

    tokens, mask = (torch.from_numpy(part).to(subject.device) for part in (batch.tokens, batch.mask))
    subject.visit(tokens, {site: visitor(here) for site, here in spaces.items()}, mask)
    return found


def refs(exemplars: Exemplars, feature: FeatureRef) -> list[WindowRef]:
    """Returns the pointers of one feature, in the order of its bands."""
    return list(exemplars.windows(feature.feature_id, 1 if feature.polarity > 0 else -1))


def gather_evidence(
    subject: Subject,
    corpus: Corpus,
    features: Sequence[FeatureRef],
    exemplars: dict[str, Exemplars],
    context_size: int,
    progress: Progress | None = None,
    n_random: int = 96,
) -> list[tuple[Evidence, list[WindowRef]]]:
    """Reads the explain-split evidence of each feature; returns it with the pointers of its own windows.

    `exemplars` are those of the explain split, by space name. The evidence's `random` windows are the first
    `n_random` sampled rows that are not among the feature's own.
    """
    pointers = [refs(exemplars[feature.space.name], feature) for feature in features]
    places = [
        Place(feature, ref.document, ref.start)
        for feature, found in zip(features, pointers, strict=True)
        for ref in found
    ]
    drawn = [
        _random_rows(exemplars[feature.space.name], n_random, {(ref.document, ref.start) for ref in found})
        for feature, found in zip(features, pointers, strict=True)
    ]
    places += [Place(feature, *row) for feature, rows in zip(features, drawn, strict=True) for row in rows]
    windows = iter(read_windows(subject, corpus, places, context_size, progress=progress))
    owns = [[next(windows) for _ in found] for found in pointers]
    randoms = [[next(windows) for _ in rows] for rows in drawn]
    gathered = []
    for found, read, others in zip(pointers, owns, randoms, strict=True):
        top = [window for window, ref in zip(read, found, strict=True) if ref.band == "top"]
        rest = [window for window, ref in zip(read, found, strict=True) if ref.band != "top"]
        gathered.append((Evidence(top, rest, others), found))
    return gathered


def _random_rows(shared: Exemplars, n: int, without: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the first `n` sampled rows (document, start) that are not in `without`."""
    rows = zip(shared.row_document[:n].tolist(), shared.row_start[:n].tolist(), strict=True)
    return [row for row in rows if row not in without]


def gather_report(
    subject: Subject,
    corpus: Corpus,
    features: Sequence[FeatureRef],
    exemplars: dict[str, Exemplars],
    n_random: int,
    context_size: int,
    progress: Progress | None = None,
) -> tuple[list[list[Window]], list[list[Window]]]:
    """Reads each feature's report-split windows: its top ones, and `n_random` rows that all share."""
    top = [
        [ref for ref in refs(exemplars[feature.space.name], feature) if ref.band == "top"]
        for feature in features
    ]
    places = [
        Place(f, ref.document, ref.start) for f, found in zip(features, top, strict=True) for ref in found
    ]
    for feature in features:
        shared = exemplars[feature.space.name]
        rows = zip(shared.row_document[:n_random].tolist(), shared.row_start[:n_random].tolist(), strict=True)
        places += [Place(feature, document, start) for document, start in rows]
    windows = iter(read_windows(subject, corpus, places, context_size, progress=progress))
    tops = [[next(windows) for _ in found] for found in top]
    n_rows = [min(n_random, len(exemplars[feature.space.name].row_document)) for feature in features]
    return tops, [[next(windows) for _ in range(n)] for n in n_rows]
