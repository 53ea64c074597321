"""Cards, lists and downloads of the pages on populations of features, and how a page is kept small."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from markupsafe import Markup

from interp.render.digits import measured, significant
from interp.render.figure import Figure
from interp.render.html import csv_uri
from interp.render.tokens import HeatScale, Titles, TokenWindow, render_tokens
from interp.statistics.estimate import Estimate, Number

from .data import (
    PLURAL,
    ConceptScore,
    DescribedFeature,
    DescribedPopulation,
    Difference,
    Exemplar,
    PopulationsData,
)

LEANER: tuple[tuple[Titles, int | None], ...] = (
    ("all", None),
    ("hot", None),
    ("peak", None),
    ("peak", 3),
    ("peak", 1),
)  # what a token shows on hover, and exemplars per band: tried in turn until the page is small enough
TEMPLATES = Path(__file__).parent / "templates"


def first_below(pages: Iterable[str], largest: int) -> str:
    """Returns the first page of fewer than `largest` bytes, or the last one if none is."""
    page = ""
    for page in pages:
        if len(page.encode()) < largest:
            break
    return page


def drawn(figures: Sequence[Figure]) -> dict[str, list[Markup]]:
    """Renders the drawings of every figure, by its name."""
    return {figure.name: figure.drawings() for figure in figures}


@dataclass(frozen=True)
class ExemplarGroup:
    """Exemplars of one band under a heading."""

    heading: str
    windows: Sequence[Markup]


class PopulationsView:
    """The view that the templates of `features.html` read: tokens, rows and downloads, made from the data."""

    def __init__(
        self,
        data: PopulationsData,
        drawings: Mapping[str, list[Markup]],
        titles: Titles,
        per_band: int | None,
    ) -> None:
        self.data, self.drawings, self.titles, self.per_band = data, drawings, titles, per_band

    def leaner(self) -> str:
        """Says in a sentence what was left out to keep the page small; empty if nothing was."""
        said = {
            "all": "",
            "hot": "Only coloured tokens show their value.",
            "peak": "Only peaks show their value.",
        }
        few = "" if self.per_band is None else f" At most {self.per_band} exemplars of each band are shown."
        return said[self.titles] + few

    def profile(self, feature: DescribedFeature) -> Markup:
        """Draws the spread of a feature's activations over all tokens: range, 98%, middle half, zero."""
        quantiles = dict(feature.quantiles)
        if len(quantiles) < 2 or not all(map(math.isfinite, quantiles.values())):
            return Markup()
        at = partial(np.interp, xp=list(quantiles), fp=list(quantiles.values()))
        low, high = min(0.0, *quantiles.values()), max(0.0, *quantiles.values())
        scale = 100 / (high - low or 1.0)
        parts = [Markup('<i class="zero" style="left:{:.1f}%"></i>').format(-low * scale)]
        for tail, thick in ((0.0, 1), (0.01, 4), (0.25, 10)):
            start, end = float(at(tail)), float(at(1 - tail))
            parts.append(
                Markup('<i style="left:{:.1f}%;width:{:.1f}%;top:{:g}px;height:{}px"></i>').format(
                    (start - low) * scale, max(0.7, (end - start) * scale), 13 - thick / 2, thick
                )
            )
        least, median, most = (significant(float(at(place))) for place in (0, 0.5, 1))
        label = (
            f"Activation over all tokens: {least} to {most}, median {median}; "
            "thick: middle half, then middle 98%"
        )
        return Markup('<span class="profile {}" role="img" aria-label="{}" title="{}">{}</span>').format(
            feature.kind, label, label, Markup().join(parts)
        )

    def legend(self, feature: DescribedFeature) -> Markup:
        """Draws the legend of a feature's token colours."""
        return self._scale(feature).legend()

    def groups(self, feature: DescribedFeature, few: bool = False) -> list[ExemplarGroup]:
        """Groups a feature's exemplars by band, in the order of the data, on one scale; `few`: only some."""
        scale = self._scale(feature)
        bands: dict[str, list[Exemplar]] = {}
        for exemplar in feature.exemplars:
            bands.setdefault(exemplar.band, []).append(exemplar)
        return [
            ExemplarGroup(
                band_heading(band),
                [self._window(e, scale) for e in exemplars[: _shown(band) if few else self.per_band]],
            )
            for band, exemplars in bands.items()
        ]

    def ranked(self) -> list[DescribedFeature]:
        """Sorts the features by score, best first, undefined scores last."""
        return sorted(
            self.data.features,
            key=lambda f: (f.both.point is None, -(f.both.point or 0.0), f.key),
        )

    def concept_rows(self) -> list[tuple[str, int, list[ConceptScore | None]]]:
        """Returns, for each concept, the number of tokens that carry it and the score of each method."""
        methods = self.concept_methods()
        table: dict[str, dict[str, ConceptScore]] = {}
        for score in self.data.concepts:
            table.setdefault(score.concept, {})[score.method] = score
        return [
            (name, max(s.positives for s in row.values()), [row.get(m) for m in methods])
            for name, row in table.items()
        ]

    def concept_methods(self) -> list[str]:
        """Returns the methods that were tried on the concepts."""
        return list(dict.fromkeys(s.method for s in self.data.concepts))

    def features_csv(self) -> Markup:
        """Makes the download of all descriptions and their numbers."""
        head = [
            "feature",
            "kind",
            "layer",
            "id",
            "polarity",
            "score",
            "score_low",
            "score_high",
            "score_top",
            "score_random",
            "null",
            "null_high",
            "firing_rate",
            "mean_activation",
            "max_activation",
            "best_concept",
            "best_concept_auroc",
            "description",
        ]
        rows = [
            [
                f.key, f.kind, f.layer, f.feature_id, f.polarity, f.both.value, f.both.low, f.both.high,
                f.top.value, f.random.value, f.null.value, f.null.high, f.firing_rate, f.mean_activation,
                f.max_activation, f.concept, f.concept_auroc, f.text,
            ]
            for f in self.data.features
        ]  # fmt: skip
        return csv_uri(head, rows)

    def concepts_csv(self) -> Markup:
        """Makes the download of every method's score for every concept."""
        head = ["concept", "method", "auroc", "low", "high", "feature", "positive_tokens"]
        rows = [
            [s.concept, s.method, s.auroc, s.low, s.high, s.feature, s.positives] for s in self.data.concepts
        ]
        return csv_uri(head, rows)

    def populations_csv(self) -> Markup:
        """The mean scores."""
        head = ["kind", "total", "described", "undefined"]
        names = ("both", "top", "random", "null")
        head += [f"{n}{end}" for n in names for end in ("", "_low", "_high")]
        rows = []
        for p in self.data.populations:
            row: list[object] = [p.kind, p.total, p.described, p.undefined]
            for estimate in (p.both, p.top, p.random, p.null):
                row += [estimate.value, estimate.low, estimate.high]
            rows.append(row)
        return csv_uri(head, rows)

    def _scale(self, feature: DescribedFeature) -> HeatScale:
        return HeatScale.over((e.values for e in feature.exemplars), signed=feature.signed)

    def _window(self, exemplar: Exemplar, scale: HeatScale) -> Markup:
        window = TokenWindow(
            exemplar.tokens, exemplar.values, exemplar.token_ids, exemplar.start, exemplar.peak
        )
        return render_tokens(window, scale, special_ids=self.data.special_ids, titles=self.titles)


def band_heading(band: str) -> str:
    """Names a band of exemplars in words."""
    if band == "top":
        return "strongest responses"
    if band == "silent":
        return "random windows where it is silent"
    if band.startswith("q"):
        return f"around quantile {band[1:]} of its activation"
    return band


def _shown(band: str) -> int:
    """Returns how many exemplars of a band are shown side by side; the table below has all."""
    return 4 if band == "top" else 1 if band.startswith("q") else 2


def score_title(
    neurons: DescribedPopulation | None, latents: DescribedPopulation | None, difference: Difference | None
) -> str:
    """Says which population's descriptions predict better, or that no difference is seen."""
    present = [p for p in (neurons, latents) if p is not None and p.both.point is not None]
    if neurons is None or latents is None or len(present) < 2:
        if not present:
            return "No description could be scored"
        return f"Descriptions of {PLURAL[present[0].kind]} score {measured(present[0].both)} on average"
    pair = f"latents {measured(latents.both)}, neurons {measured(neurons.both)}"
    if not any(beats_null(p) for p in present):
        return f"Neither kind of description predicts better than shuffled ones: {pair}"
    gap = difference.estimate if difference else Estimate()
    if gap.point is None or gap.ends is None:
        return f"Mean scores: {pair} (the difference has no interval)"
    if gap.low > 0:
        return f"Descriptions of latents predict better than those of neurons: {pair}"
    if gap.high < 0:
        return f"Descriptions of neurons predict better than those of latents: {pair}"
    return f"No difference seen between neurons and latents: {pair}"


def beats_null(population: DescribedPopulation) -> bool:
    """Whether the interval of the mean lies above the mean score of shuffled descriptions."""
    low = population.both.ends[0] if population.both.ends else population.both.point
    return low is not None and low > (population.null.point or 0.0)


def concepts_found(scores: Sequence[ConceptScore], method: str, found_auroc: Number) -> set[str]:
    """Returns the concepts whose best feature reaches `found_auroc`, with an interval above random's."""
    baseline: dict[str, Number] = {}
    for s in scores:
        if s.method == "random":
            bar = s.high if s.high is not None else s.auroc
            baseline[s.concept] = max(bar, baseline.get(s.concept, 0.0))
    return {
        s.concept
        for s in scores
        if s.method == method
        and s.auroc >= found_auroc
        and (s.low if s.low is not None else s.auroc) > baseline.get(s.concept, 0.0)
    }
