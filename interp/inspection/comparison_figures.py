"""The figures of a comparison: every description by its score, pairs, and concepts."""

import numpy as np

from interp.compare.populations import RANDOM
from interp.inspection.comparison import Comparison, Concepts, Matches, Scored
from interp.monitor.knowledge import MAIN_SCORE
from interp.render.charts.distributions import Group, histogram_chart, swarm_chart
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.charts.scatter import scatter_chart
from interp.render.digits import count, measured
from interp.render.figure import Figure
from interp.render.page import IN_GRID
from interp.render.palette import OF_KIND, Role
from interp.statistics.estimate import Estimate

MOST_DOTS = 400
"""Descriptions up to which each is drawn as a dot; more are drawn as histograms."""
MOST_CONCEPTS = 40
SHUFFLED = "shuffled descriptions"
AXES = {
    MAIN_SCORE: "score: Pearson r, predicted against true activation, 1 is perfect",
    "detection": "detection: AUROC, windows with the feature against windows without",
    "fuzzing": "fuzzing: AUROC, marked tokens that are the feature's against others",
}
CHANCE = {MAIN_SCORE: 0.0, "detection": 0.5, "fuzzing": 0.5}


def comparison_figures(made: Comparison) -> list[Figure]:
    """The figures, the first one first."""
    first, second = made.first, made.second
    axis = AXES.get(made.measure, f"score: {made.measure}")
    groups = [_group(first), _group(second)]
    title = f"{_mean(first)}; {_mean(second)}"
    caption = f"Report split; {first.source}" + (
        f"; {second.source}" if second.source != first.source else ""
    )
    if sum(len(group.values) for group in groups) <= MOST_DOTS:
        marks = [(CHANCE[made.measure], "no better than guessing")] if made.measure in CHANCE else []
        chart = swarm_chart(
            groups, x_name=axis, marks=marks, unit="descriptions", null_name=SHUFFLED
        )  # fmt: skip
        found = [Figure("scores", title, caption, chart, 640)]
    else:
        chart = histogram_chart(groups, x_name=axis, unit="descriptions", null_name=SHUFFLED, height=100)
        found = [Figure("scores", title, caption, chart, 640)]
    if made.how == "paired":
        found.append(_pairs(made))
    if made.matches is not None and len(made.matches.rows):
        found += _matched(made.matches)
    if made.concepts is not None and made.concepts.recoveries:
        found.append(_concepts(made.concepts, first, second))
    return found


def _group(one: Scored) -> Group:
    known = one.rows.dropna(subset=["value"])
    notes = [f"{key}, {text}" for key, text in zip(known.index, known["text"], strict=True)]
    role = OF_KIND[one.choice.kind]
    return Group(_capital(one.choice.name), known["value"].tolist(), role, one.mean, one.null, notes)


def _pairs(made: Comparison) -> Figure:
    one, two = made.first, made.second
    both = one.rows[["value"]].join(two.rows["value"].rename("value_two"), how="inner")
    chart = scatter_chart(
        list(zip(both["value"].tolist(), both["value_two"].tolist(), strict=True)),
        role=OF_KIND[two.choice.kind],
        x_name=f"score, {one.choice.name}",
        y_name=f"score, {two.choice.name}",
    )
    ahead = (
        f"{_capital(two.choice.name)} score higher for {count(made.ahead)} of {count(made.n_pairs)} features"
    )
    return Figure("pairs", ahead, "each dot is a feature", chart, IN_GRID)


def _matched(matches: Matches) -> list[Figure]:
    rows = matches.rows
    scores = list(zip(rows["neuron_score"].tolist(), rows["latent_score"].tolist(), strict=True))
    alike = list(zip(rows["random_correlation"].tolist(), rows["correlation"].tolist(), strict=True))
    ahead = f"Latents score higher in {count(matches.ahead)} of {count(matches.scored)} matched pairs"
    near = f"Latents correlate {measured(matches.correlation)} with the nearest neuron, "
    near += f"{measured(matches.random)} with the nearest random direction"
    of_scores = scatter_chart(scores, role="b", x_name="score of the neuron", y_name="score of the latent")
    of_correlations = scatter_chart(
        alike, role="a", x_name="r with the nearest random direction", y_name="r with the nearest neuron"
    )
    return [
        Figure("pair_scores", ahead, "each dot is a latent and its nearest neuron", of_scores, IN_GRID),
        Figure(
            "pair_correlations", near, "on the report split; each dot is a latent", of_correlations, IN_GRID
        ),
    ]


def _concepts(concepts: Concepts, first: Scored, second: Scored) -> Figure:
    roles: dict[str, Role] = {first.choice.name: OF_KIND[first.choice.kind]}
    role = OF_KIND[second.choice.kind]
    roles[second.choice.name] = "c" if role in roles.values() else role
    roles.setdefault(RANDOM, "null")
    table: dict[str, list[Entry]] = {}
    best: dict[str, float] = {}
    for one in concepts.recoveries:
        entry = Entry(
            roles[one.method], Estimate(one.auroc, one.low, one.high), f"{one.space}/{one.feature_id}"
        )
        table.setdefault(one.concept, []).append(entry)
        if one.method != RANDOM:
            best[one.concept] = float(np.fmax(best.get(one.concept, 0.0), one.auroc))
    shown = sorted(table, key=lambda name: (-best.get(name, 0.0), name))[:MOST_CONCEPTS]
    rows = [EstimateRow(name, table[name]) for name in shown]
    names = {role: name for name, role in roles.items()}
    chart = estimate_chart(
        rows, x_name="AUROC of the best feature", names=names, null=None, marks=[(0.5, "chance")], step=6
    )
    found = f"Of {count(len(table))} concepts {first.choice.name} find {_number(concepts.first_found)}, "
    found += f"{second.choice.name} {_number(concepts.second_found)}"
    caption = "the best feature for each concept, chosen on other text"
    if len(table) > len(shown):
        caption += f"; the {len(shown)} that are detected best"
    return Figure("concepts", found, caption, chart, 640)


def _mean(one: Scored) -> str:
    return f"{_capital(one.choice.name)} {measured(one.mean)}"


def _number(found: int | None) -> str:
    return "–" if found is None else count(found)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
