"""The figures about descriptions and concepts: one that needs no introduction, and the evidence after it."""

from collections.abc import Mapping, Sequence

from interp.render.charts.distributions import Group, histograms, swarms
from interp.render.charts.estimates import Entry, EstimateRow, estimates
from interp.render.data import ConceptScore, FeatureRow, Kind, Number, Population
from interp.render.digits import number
from interp.render.figure import Draw
from interp.render.palette import OF_KIND, Role

BIN_WIDTH = 0.1
AXIS = "score: Pearson r, predicted against true activation"
SHUFFLED = "shuffled descriptions"
DRAWN: Mapping[str, Kind] = {"neurons": "neuron", "latents": "latent", "random": "random"}


def overview(populations: Sequence[Population], features: Sequence[FeatureRow]) -> Draw:
    """Every description as a dot by its score, each population's mean with its interval, the null in grey."""
    return swarms(
        _groups(populations, features),
        x_name=f"{AXIS}, 1 is perfect",
        marks=[(0.0, "no better than guessing")],
        reach=(-0.2, 1.0),
        unit="descriptions",
        null_name=SHUFFLED,
    )


def distributions(populations: Sequence[Population], features: Sequence[FeatureRow]) -> Draw:
    """One histogram of scores per population on one axis, with mean, interval and null band."""
    groups = _groups(populations, features)
    low = min(-0.2, *(float(v) for group in groups for v in group.finite()), 0.0)
    first = int(10 * low - 0.999)
    bins = [n * BIN_WIDTH for n in range(first, 11)]
    return histograms(groups, x_name=AXIS, bins=bins, unit="descriptions", null_name=SHUFFLED, height=100)


def concept_recovery(
    scores: Sequence[ConceptScore],
    *,
    found: Number | None,
    drawn: Mapping[str, Kind] = DRAWN,
    measure: str = "AUROC",
    chance: Number = 0.5,
) -> Draw:
    """For every concept, best first, how well the best feature of each method tells it, beside random ones.

    Args:
        scores: One a concept and method; `auroc` holds the measure, whichever it is.
        found: From where a concept counts as found; None draws no line.
        drawn: The methods that are shown, and the kind of each.
        measure: What is measured.
        chance: What a feature that knows nothing scores.
    """
    table: dict[str, dict[str, ConceptScore]] = {}
    for score in scores:
        if score.method in drawn:
            table.setdefault(score.concept, {})[score.method] = score
    own = [method for method, kind in drawn.items() if kind != "random"]
    best = {name: max((row[m].auroc for m in own if m in row), default=0.0) for name, row in table.items()}
    rows = [
        EstimateRow(
            name,
            [
                Entry(OF_KIND[kind], s.estimate, s.feature)
                for method, kind in drawn.items()
                if (s := table[name].get(method)) is not None
            ],
        )
        for name in sorted(table, key=lambda name: (-best[name], name))
    ]
    names: dict[Role, str] = {}
    for method, kind in drawn.items():
        names.setdefault(OF_KIND[kind], method)
    marks = [(chance, "chance"), *([] if found is None else [(found, f"found: {number(found)}")])]
    return estimates(
        rows, x_name=f"{measure} of the best feature", names=names, null=None, marks=marks, step=6
    )


def _groups(populations: Sequence[Population], features: Sequence[FeatureRow]) -> list[Group]:
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
