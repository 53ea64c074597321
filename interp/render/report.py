"""The report: one self-contained HTML page that works offline, prints, and opens with a plain answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from markupsafe import Markup

from interp.render.data import ConceptScore, Exemplar, FeatureRow, Kind, ReportData
from interp.render.digits import significant
from interp.render.figure import Figure
from interp.render.html import LARGEST_PAGE, csv_uri, rendered
from interp.render.score_figures import QUANTITIES, report_figures
from interp.render.tokens import HeatScale, Titles, TokenWindow, render_tokens
from interp.render.wording import concept_duel, concept_title, concepts_found, opening, score_title

LEANER: tuple[tuple[Titles, int | None], ...] = (
    ("all", None),
    ("hot", None),
    ("peak", None),
    ("peak", 3),
    ("peak", 1),
)  # what a token says on hover, and the exemplars of a band: steps taken until the page is small enough
SIDE_BY_SIDE = (1.0, 0.75, 0.5, 0.25, 0.0)  # quantiles of the score at which examples are shown


def render_report(data: ReportData, largest: int = LARGEST_PAGE) -> str:
    """The whole page as a string of HTML; the same data gives the same bytes.

    No request leaves the page. A page over `largest` bytes is made leaner, and says so: first only tokens
    with heat, then only peaks tell their value on hover, then fewer exemplars of each band are shown.
    """
    page = ""
    drawings = drawn(report_figures(data))
    for titles, per_band in LEANER:
        view = ReportView(data, drawings, titles, per_band)
        page = rendered(
            "report.html",
            ["page.js", "report.js"],
            data=data,
            view=view,
            subject=data.subject,
            run=data.run,
            timing=data.timing,
            limits=data.limits,
        )
        if len(page.encode()) < largest:
            break
    return page


def drawn(figures: Sequence[Figure]) -> dict[str, list[Markup]]:
    """The drawings of every figure, by its name."""
    return {figure.name: figure.drawings() for figure in figures}


@dataclass(frozen=True)
class Group:
    """Exemplars of one band under a heading."""

    heading: str
    windows: Sequence[Markup]


class ReportView:
    """What the template asks for: figures, titles, tokens and downloads, made from the data."""

    def __init__(
        self, data: ReportData, drawings: Mapping[str, list[Markup]], titles: Titles, per_band: int | None
    ) -> None:
        self.data, self.drawings, self.titles, self.per_band = data, drawings, titles, per_band
        self.opening = opening(data)
        self.score_title = score_title(data.population("neuron"), data.population("latent"), data.difference)
        self.concept_title = concept_title(data.concepts, data.found_auroc)
        self.concept_duel = concept_duel(data.concepts)

    def leaner(self) -> str:
        """What was left out to keep the page small, as a sentence; empty if nothing was."""
        said = {
            "all": "",
            "hot": "Only coloured tokens tell their value.",
            "peak": "Only peaks tell their value.",
        }
        few = "" if self.per_band is None else f" At most {self.per_band} exemplars of each band are shown."
        return said[self.titles] + few

    def curves(self) -> list[Markup]:
        """The training curves worth a look; all of them if none is known by name."""
        history = self.data.sae.history if self.data.sae else {}
        known = [name for name in history if name.rpartition("/")[2] in QUANTITIES]
        return [self.drawings[n.replace("/", "_")][0] for n in known or history if len(history[n]) > 1]

    def profile(self, feature: FeatureRow) -> Markup:
        """The spread of a feature's activations over all tokens: range, middle 98%, middle half, and zero."""
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

    def legend(self, feature: FeatureRow) -> Markup:
        """What the colours of a feature's tokens mean."""
        return self._scale(feature).legend()

    def groups(self, feature: FeatureRow, few: bool = False) -> list[Group]:
        """A feature's exemplars by band, in the order of the data, on one scale; with `few`, some of them."""
        scale = self._scale(feature)
        bands: dict[str, list[Exemplar]] = {}
        for exemplar in feature.exemplars:
            bands.setdefault(exemplar.band, []).append(exemplar)
        return [
            Group(
                band_heading(band),
                [self._window(e, scale) for e in exemplars[: _shown(band) if few else self.per_band]],
            )
            for band, exemplars in bands.items()
        ]

    def pairs(self) -> list[tuple[str, FeatureRow | None, FeatureRow | None]]:
        """Examples by rule, not by taste: best, quartiles and lowest score of each side."""
        names = ("Best score", "Upper quartile", "Median", "Lower quartile", "Lowest score")
        shown: set[str] = set()
        pairs = []
        for name, share in zip(names, SIDE_BY_SIDE, strict=True):
            left, right = self._at("neuron", share), self._at("latent", share)
            keys = {f.key for f in (left, right) if f}
            if keys - shown:  # a handful of features has fewer ranks than five
                pairs.append((name, left, right))
            shown |= keys
        return pairs

    def ranked(self) -> list[FeatureRow]:
        """All features, best score first, undefined scores last."""
        return sorted(
            self.data.features,
            key=lambda f: (f.both.point is None, -(f.both.point or 0.0), f.key),
        )

    def recovered(self) -> list[tuple[str, int, int]]:
        """Method, concepts found, concepts tried."""
        d = self.data
        methods = dict.fromkeys(s.method for s in d.concepts)
        return [
            (m, len(concepts_found(d.concepts, m, d.found_auroc)), sum(s.method == m for s in d.concepts))
            for m in methods
        ]

    def concept_rows(self) -> list[tuple[str, int, list[ConceptScore | None]]]:
        """Concept, tokens that carry it, and the score of each method."""
        methods = self.concept_methods()
        table: dict[str, dict[str, ConceptScore]] = {}
        for score in self.data.concepts:
            table.setdefault(score.concept, {})[score.method] = score
        return [
            (name, max(s.positives for s in row.values()), [row.get(m) for m in methods])
            for name, row in table.items()
        ]

    def concept_methods(self) -> list[str]:
        """The methods that were tried on the concepts."""
        return list(dict.fromkeys(s.method for s in self.data.concepts))

    def features_csv(self) -> Markup:
        """All descriptions with their numbers."""
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
        """Every method's score for every concept."""
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

    def _scale(self, feature: FeatureRow) -> HeatScale:
        return HeatScale.over((e.values for e in feature.exemplars), signed=feature.signed)

    def _window(self, exemplar: Exemplar, scale: HeatScale) -> Markup:
        window = TokenWindow(
            exemplar.tokens, exemplar.values, exemplar.token_ids, exemplar.start, exemplar.peak
        )
        return render_tokens(window, scale, special_ids=self.data.special_ids, titles=self.titles)

    def _at(self, kind: Kind, share: float) -> FeatureRow | None:
        scored = [f for f in self.data.features if f.kind == kind and f.both.point is not None]
        if not scored:
            return None
        ranked = sorted(scored, key=lambda f: (f.both.point or 0.0, f.key))
        return ranked[round(share * (len(ranked) - 1))]


def band_heading(band: str) -> str:
    """A band of exemplars in words."""
    if band == "top":
        return "strongest responses"
    if band == "silent":
        return "random windows where it is silent"
    if band.startswith("q"):
        return f"around quantile {band[1:]} of its activation"
    return band


def _shown(band: str) -> int:
    """How many exemplars of a band stand side by side; the table below has all."""
    return 4 if band == "top" else 1 if band.startswith("q") else 2
