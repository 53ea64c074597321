"""The page of `compare`: populations, matched pairs side by side, concepts, and every description."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.charts.scatter import scatter_chart
from interp.render.digits import count, interval, measured
from interp.render.figure import Figure
from interp.render.html import LARGEST_PAGE, csv_uri, rendered_page
from interp.render.page import IN_GRID
from interp.render.palette import OF_KIND
from interp.render.tokens import Titles
from interp.statistics.estimate import Estimate, Number
from interp.statistics.splits import evenly_spaced

from ..common.populations.data import PLURAL, DescribedFeature, PopulationsData
from ..common.populations.figures import concept_recovery, report_figures
from ..common.populations.view import (
    LEANER,
    TEMPLATES,
    ExemplarGroup,
    PopulationsView,
    drawn,
    first_below,
    score_title,
)

MANY = 100_000
STEPS: tuple[tuple[Titles, int | None, int, int], ...] = (
    *((titles, per_band, MANY, MANY) for titles, per_band in LEANER),
    ("peak", 1, 160, 1000),
    ("peak", 1, 60, 300),
)  # as in the quickstart, and: how many descriptions keep their exemplars, how many rows a list has
FEW, MORE = 400, 900  # the most descriptions for which the first step, and a middle step, are tried


@dataclass(frozen=True)
class MatchedPair:
    """A latent and the neuron most similar to it.

    `selected` and `correlation` are Pearson's r of their activations on the select and on the report split,
    `random_correlation` that of the most similar of as many random directions on the report split.
    """

    population: str
    latent: DescribedFeature
    neuron: DescribedFeature
    selected: Number
    correlation: Number | None
    random_correlation: Number | None

    @property
    def difference(self) -> Number | None:
        """The score of the latent's description minus that of the neuron's."""
        one, two = self.latent.both.point, self.neuron.both.point
        return None if one is None or two is None else one - two


@dataclass(frozen=True)
class PairSummary:
    """All matched pairs of one population of latents; the estimates are means with 95% intervals."""

    population: str
    correlation: Estimate
    random: Estimate
    beyond: Estimate
    difference: Estimate
    scored: int
    undefined: int
    ahead: int
    unmatched: int


@dataclass(frozen=True)
class ComparePage:
    """The data of the page; `differences` are (first, second, mean score of the second minus the first's).

    `found` is the number of concepts that each population finds.
    """

    data: PopulationsData
    differences: Sequence[tuple[str, str, Estimate]]
    pairs: Sequence[MatchedPair]
    summaries: Sequence[PairSummary]
    found: Mapping[str, int]

    def figures(self) -> list[Figure]:
        """Returns the figures of a report, and those of pairs of populations and of features."""
        roles = {p.label: OF_KIND[p.kind] for p in self.data.populations}
        rows = [
            EstimateRow(f"{_short(second, first)} − {first}", [Entry(roles[second], estimate)])
            for first, second, estimate in self.differences
        ]
        differences = estimate_chart(
            rows,
            x_name="difference of mean scores (Pearson r)",
            names={OF_KIND[kind]: name for kind, name in PLURAL.items()},
        )
        figures = [
            *(figure for figure in report_figures(self.data) if figure.name != "concepts"),
            Figure("score_differences", "Differences of mean scores", "", differences),
        ]
        if self.pairs:
            scores = [(_float(p.neuron.both.point), _float(p.latent.both.point)) for p in self.pairs]
            alike = [(_float(p.random_correlation), _float(p.correlation)) for p in self.pairs]
            of_scores = scatter_chart(
                scores, role="b", x_name="score of the neuron", y_name="score of the latent"
            )
            of_correlations = scatter_chart(
                alike,
                role="a",
                x_name="r with the nearest random direction",
                y_name="r with the nearest neuron",
            )
            figures.append(Figure("pair_scores", "Scores within pairs", "", of_scores, IN_GRID))
            figures.append(
                Figure("pair_correlations", "How similar the nearest neuron is", "", of_correlations, IN_GRID)
            )
        if self.data.concepts:
            chart = concept_recovery(self.data.concepts, found=self.data.found_auroc, drawn=roles)
            figures.append(Figure("concepts", "Concepts found", "", chart, 640))
        return figures

    def html(self, largest: int = LARGEST_PAGE) -> str:
        """Renders the whole page; the same data gives the same bytes.

        The page makes no requests. One over `largest` bytes is made leaner, and says so.
        """
        return first_below(self._pages(), largest)

    def _pages(self) -> Iterator[str]:
        n, drawings = len(self.data.features), drawn(self.figures())
        first = 0 if n <= FEW else 3 if n <= MORE else len(LEANER)
        for titles, per_band, kept, rows in STEPS[first:]:
            yield rendered_page(
                "compare.html",
                ["page.js", "features.js"],
                [Path(__file__).parent / "templates", TEMPLATES],
                page=self,
                data=self.data,
                view=CompareView(self, drawings, titles, per_band, kept, rows),
                subject=self.data.subject,
                run=self.data.run,
                timing=self.data.timing,
                limits=self.data.limits,
            )


class CompareView(PopulationsView):
    """The view that the template reads; `kept` descriptions keep exemplars, lists have at most `rows`."""

    def __init__(
        self,
        page: ComparePage,
        drawings: Mapping[str, list[Markup]],
        titles: Titles,
        per_band: int | None,
        kept: int,
        rows: int,
    ) -> None:
        super().__init__(page.data, drawings, titles, per_band)
        self.page, self.rows = page, rows
        self.opening = opening_of(page)
        ranked = super().ranked()
        self.n_kept = min(kept, len(ranked))
        self.with_exemplars = {f.key for f in evenly_spaced(ranked, kept)}
        self._ranked = evenly_spaced(ranked, rows)

    def leaner(self) -> str:
        said = super().leaner()
        total = len(self.data.features)
        if self.n_kept < total:
            said += f" Exemplars are kept for {count(self.n_kept)} of {count(total)} descriptions."
        if len(self._ranked) < total:
            said += f" {count(len(self._ranked))} rows at even steps of the score; the CSV has all."
        return said

    def ranked(self) -> list[DescribedFeature]:
        return self._ranked

    def groups(self, feature: DescribedFeature, few: bool = False) -> list[ExemplarGroup]:
        return super().groups(feature, few) if feature.key in self.with_exemplars else []

    def titles_of(self) -> dict[str, str]:
        """Returns the headings of the sections, which state the results."""
        return {"scores": scores_title(self.page), "pairs": pairs_title(self.page), "concepts": self._found()}

    def _found(self) -> str:
        tested = len({score.concept for score in self.data.concepts})
        found = ", ".join(f"{name} {n}" for name, n in self.page.found.items())
        return f"Of {tested} labelled concepts the best feature finds: {found}"

    def matched(self) -> list[MatchedPair]:
        """Returns the pairs that are listed, most similar first."""
        ranked = sorted(self.page.pairs, key=lambda p: (-(p.correlation or -1.0), p.latent.key))
        return evenly_spaced(ranked, self.rows)

    def differences_csv(self) -> Markup:
        rows = [[a, b, e.value, e.low, e.high] for a, b, e in self.page.differences]
        return csv_uri(["first", "second", "second_minus_first", "low", "high"], rows)

    def matched_csv(self) -> Markup:
        head = [
            "population", "latent", "neuron", "r_select", "r_report", "random_r_report",
            "latent_score", "neuron_score", "difference", "latent_description", "neuron_description",
        ]  # fmt: skip
        rows = [
            [
                p.population, p.latent.key, p.neuron.key, p.selected, p.correlation, p.random_correlation,
                p.latent.both.value, p.neuron.both.value, p.difference, p.latent.text, p.neuron.text,
            ]
            for p in self.page.pairs
        ]  # fmt: skip
        return csv_uri(head, rows)

    def by_concept(self) -> list[tuple[str, int, int]]:
        """Returns, for each population, its name, the concepts found and the concepts tried."""
        tried = len({score.concept for score in self.data.concepts})
        return [(name, n, tried) for name, n in self.page.found.items()]

    def labels(self) -> list[str]:
        """Returns the labels of the populations, in the order in which they are described."""
        return list(dict.fromkeys(f.group for f in self.data.features))


def opening_of(page: ComparePage) -> list[str]:
    """Says in three sentences what was compared, how, and what came out."""
    d = page.data
    names = [population.label for population in d.populations]
    described = sum(p.described for p in d.populations)
    matched = len(page.pairs)
    return [
        f"The same text was read from {d.subject.name} by {', '.join(names[:-1])} and {names[-1]}, and each "
        "kept the same number of exemplars.",
        f"The same explainer described {count(described)} of them, and the nearest neurons of "
        f"{count(matched)} latents, without a language model; each sentence was scored by how well it "
        "predicts activations on other text.",
        f"{scores_title(page)}; {_lower(pairs_title(page))}.",
    ]


def scores_title(page: ComparePage) -> str:
    """Says whether latents or neurons are described better, as far as the intervals show."""
    populations = page.data.populations
    neurons = next((p for p in populations if p.kind == "neuron"), None)
    latents = [p for p in populations if p.kind == "latent"]
    if len(latents) == 1:
        others = [f"{p.label} {measured(p.both)}" for p in populations if p.kind not in ("neuron", "latent")]
        title = score_title(neurons, latents[0], page.data.difference)
        return f"{title} ({', '.join(others)})" if others else title
    means = ", ".join(f"{p.label} {measured(p.both)}" for p in populations)
    clear = [
        f"{second} {'above' if estimate.ends[0] > 0 else 'below'} {first}"
        for first, second, estimate in page.differences
        if estimate.ends is not None and not estimate.ends[0] <= 0 <= estimate.ends[1]
    ]
    return f"Mean scores: {means} (clear differences: {len(clear)} of {len(page.differences)} pairs)"


def pairs_title(page: ComparePage) -> str:
    """Says how similar latents and their nearest neurons are, and which are described better."""
    said = []
    for summary in page.summaries:
        gap = summary.difference
        within = "no pair has two scores"
        if gap.point is not None:
            seen = gap.ends is not None and not gap.ends[0] <= 0 <= gap.ends[1]
            within = f"latents score {measured(gap, sign=True)} ({interval(gap, sign=True)}) within pairs"
            within += "" if seen else ", no clear difference"
        null = f", with the nearest random direction {measured(summary.random)}" * (
            summary.random.point is not None
        )
        who = "Latents" if len(page.summaries) == 1 else summary.population.capitalize()
        said.append(
            f"{who} correlate {measured(summary.correlation)} with the nearest neuron{null}, and {within}"
        )
    return "; ".join(said) or "No latent was matched"


def _short(name: str, other: str) -> str:
    """Returns a name without its last word if the other name ends with the same word."""
    head, _, last = name.rpartition(" ")
    return head if head and other.endswith(f" {last}") else name


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _float(value: Number | None) -> float:
    return float("nan") if value is None else float(value)
