"""Figures of descriptions and concepts: an overview that needs no introduction, then the evidence."""

from collections.abc import Mapping, Sequence

from interp.render.charts.distributions import Group, histogram_chart, swarm_chart
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import number
from interp.render.figure import Draw, Figure
from interp.render.palette import OF_KIND, Role
from interp.statistics.estimate import Number

from ..dictionaries.curves import training_curve
from .data import (
    ConceptScore,
    DescribedFeature,
    DescribedPopulation,
    PopulationsData,
)

BIN_WIDTH = 0.1
AXIS = "score: Pearson r, predicted against true activation"
SHUFFLED = "shuffled descriptions"
DRAWN: Mapping[str, Role] = {"neurons": "a", "latents": "b", "random": "null"}


def report_figures(data: PopulationsData) -> list[Figure]:
    """Returns a report's figures: scores, distributions, concepts, and one curve per training metric."""
    d = data
    figures = [
        Figure("scores", "Every description by its score", "", overview(d.populations, d.features), 640),
        Figure("score_distributions", "Scores", "", distributions(d.populations, d.features)),
    ]
    if d.concepts:
        recovered = concept_recovery(d.concepts, found=d.found_auroc)
        figures.append(Figure("concepts", "Concepts found", "", recovered, 640))
    return [
        *figures,
        *(training_curve(name, points) for name, points in (d.sae.history if d.sae else {}).items()),
    ]


def overview(populations: Sequence[DescribedPopulation], features: Sequence[DescribedFeature]) -> Draw:
    """Draws every description as a dot by its score, each population's mean and interval, and the null."""
    return swarm_chart(
        _groups(populations, features),
        x_name=f"{AXIS}, 1 is perfect",
        marks=[(0.0, "no better than guessing")],
        reach=(-0.2, 1.0),
        unit="descriptions",
        null_name=SHUFFLED,
    )


def distributions(populations: Sequence[DescribedPopulation], features: Sequence[DescribedFeature]) -> Draw:
    """Draws a histogram of scores per population on one axis, with mean, interval and null band."""
    groups = _groups(populations, features)
    low = min(-0.2, *(float(v) for group in groups for v in group.finite()), 0.0)
    first = int(10 * low - 0.999)
    bins = [n * BIN_WIDTH for n in range(first, 11)]
    return histogram_chart(
        groups, x_name=AXIS, bins=bins, unit="descriptions", null_name=SHUFFLED, height=100
    )


def concept_recovery(
    scores: Sequence[ConceptScore],
    *,
    found: Number | None,
    drawn: Mapping[str, Role] = DRAWN,
    measure: str = "AUROC",
    chance: Number = 0.5,
) -> Draw:
    """Draws how well the best feature of each method detects every concept, best first, beside random ones.

    Args:
        scores: One per concept and method; `auroc` holds the measure, whichever it is.
        found: The least value of a concept that counts as found; None draws no line.
        drawn: The methods that are shown, and the role (colour) of each.
        measure: The name of the measure, for the axis.
        chance: The score of an uninformative feature.
    """
    table: dict[str, dict[str, ConceptScore]] = {}
    for score in scores:
        if score.method in drawn:
            table.setdefault(score.concept, {})[score.method] = score
    own = [method for method, role in drawn.items() if role != "null"]
    best = {name: max((row[m].auroc for m in own if m in row), default=0.0) for name, row in table.items()}
    rows = [
        EstimateRow(
            name,
            [
                Entry(role, s.estimate, s.feature)
                for method, role in drawn.items()
                if (s := table[name].get(method)) is not None
            ],
        )
        for name in sorted(table, key=lambda name: (-best[name], name))
    ]
    names: dict[Role, str] = {}
    for method, role in drawn.items():
        names.setdefault(role, method)
    marks = [(chance, "chance"), *([] if found is None else [(found, f"found: {number(found)}")])]
    return estimate_chart(
        rows, x_name=f"{measure} of the best feature", names=names, null=None, marks=marks, step=6
    )


def _groups(populations: Sequence[DescribedPopulation], features: Sequence[DescribedFeature]) -> list[Group]:
    groups = []
    for population in populations:
        own = [f for f in features if f.group == population.label and f.both.point is not None]
        groups.append(
            Group(
                population.label.capitalize(),
                [f.both.point for f in own if f.both.point is not None],
                OF_KIND[population.kind],
                population.both,
                population.null,
                [f"{f.key}, {f.text}" for f in own],
            )
        )
    return groups
