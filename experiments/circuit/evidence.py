"""Sections of the page of `circuit`: methods, single edges, heads, and what behaviours share."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from interp.render.charts.curves import Curve
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.charts.heat import Heat, heat_chart
from interp.render.digits import number
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate

from ..common.frames import groups

COLOURS: tuple[Role, ...] = ("c", "a", "b")
RANDOM = "random"
MOST_NAMED = 12  # heads that a sentence names
METHOD: tuple[Column | str, ...] = ("behaviour", "method")


def beside_random(table: pd.DataFrame, x: str) -> Iterator[Curve]:
    """Yields each behaviour's faithfulness over the column `x`, and that of the random circuits."""
    for place, ((name,), rows) in enumerate(groups(table, "behaviour")):
        yield Curve.of(str(name), COLOURS[place % len(COLOURS)], rows, x, "faithfulness")
        yield Curve.of(RANDOM, "null", rows, x, "random")


def methods(areas: pd.DataFrame, on: str) -> Section:
    """The area under faithfulness of every method."""
    rows = []
    for (behaviour, method), own in groups(areas, "behaviour", "method"):
        found = own.to_dict("records")
        entries = [Entry("a" if row["choice"] == "top" else "b", Estimate.of(row, "area")) for row in found]
        entries += [Entry("null", Estimate.of(row, "random")) for row in found if row["chosen"]]
        rows.append(EstimateRow(f"{behaviour}, {method}", entries))
    names: Mapping[Role, str] = {"a": "top", "b": "greedy", "null": "random circuits"}
    chart = estimate_chart(rows, x_name="area under faithfulness", names=names, null=None)
    columns = [*METHOD, "choice", "area", Column("random circuits", of="random"),
               Column("on the other half", of="area_choose", places=3)]  # fmt: skip
    text = (
        "Faithfulness averaged over the logarithm of the size: the further right, the fewer edges are "
        "needed. Random circuits are drawn for the method and choice with the smallest circuit. Whiskers are "
        "the areas under the ends of a curve's band."
    )
    return Section(
        "Which scores find small circuits",
        [text],
        [Figure("areas", "Methods", on, chart)],
        [Table.of(areas, columns, "areas", "Areas under faithfulness, held-out pairs")],
    )


def single_edges(agreement: pd.DataFrame) -> Section:
    """Scores held against the effects of single edges."""
    rows = []
    for row in agreement.to_dict("records"):
        entries = [
            Entry("a", Estimate.of(row, "spearman")),
            Entry("null", Estimate.of(row, "spearman_random")),
        ]
        rows.append(EstimateRow(f"{row['behaviour']}, {row['method']}", entries))
    names: Mapping[Role, str] = {"a": "scores", "null": "scores in random order"}
    chart = estimate_chart(rows, x_name="rank correlation (Spearman)", names=names)
    n, k = (int(agreement[name].max()) for name in ("n", "k"))
    caption = f"{n} edges of each behaviour, half of large scores, half at random; 95% intervals over edges"
    columns = [*METHOD]
    for head, measure in (("rank correlation", "spearman"), ("same sign", "sign"), (f"top {k}", "top")):
        columns += [Column(head, of=measure), Column("random order", of=f"{measure}_random")]
    text = (
        "Scores on one half against what corrupting the edge alone really changes on the other. Same "
        f"sign: of effects above 1% of the largest. Top {k}: shared by both rankings' first {k}."
    )
    return Section(
        "Do scores tell what an edge does",
        [text],
        [Figure("agreement", "Scores and effects", caption, chart)],
        [Table.of(agreement, columns, "agreement", "Agreement of scores and real effects")],
    )


def minimal(circuits: pd.DataFrame, changes: pd.DataFrame) -> Section:
    """What one edge less, or one more, changes."""
    rows = [
        EstimateRow(
            row["behaviour"],
            [Entry("c", Estimate.of(row, "left_out")), Entry("null", Estimate.of(row, "added"))],
        )
        for row in circuits.to_dict("records")
    ]
    names: Mapping[Role, str] = {"c": "an edge of the circuit left out", "null": "another edge added"}
    chart = estimate_chart(rows, x_name="mean size of the change of faithfulness", names=names)
    n = int(changes.groupby("behaviour")["kept"].sum().max())
    caption = f"at most {n} edges of each circuit and as many others; 95% intervals over edges"
    columns: list[Column | str] = ["behaviour", "edge", Column("in the circuit", of="kept"), "change"]
    text = "In a minimal circuit leaving out an edge changes much, and adding one little."
    return Section(
        "Is every edge needed",
        [text],
        [Figure("minimality", "One edge less or more", caption, chart)],
        [Table.of(changes, columns, "minimality", "One edge left out, or one added")],
    )


def heads(
    table: pd.DataFrame, circuits: pd.DataFrame, on: str, chart: Draw, functions: Sequence[Table]
) -> Section:
    """How few heads are enough, and which."""
    columns: list[Column | str] = [
        "behaviour",
        Column("heads", places=0),
        "faithfulness",
        Column("random heads", of="random"),
    ]
    caption = "The fewest heads with the level, held-out pairs"
    which = [
        f"for {row['behaviour']} {row['head_names'] or 'none'}"
        for row in circuits.to_dict("records")
        if row["heads"] <= MOST_NAMED
    ]
    text = (
        "Heads are ranked by what corrupting all that they write really does, on the half to choose on; the "
        "input and all MLPs are kept."
    )
    said = [text]
    if which:
        said.append(f"Those that keep the level there: {'; '.join(which)}.")
    if functions:
        said.append(
            "Function-vector heads are the few whose mean output, from prompts with examples of in-context "
            "tasks, most helps the answer in prompts without examples. By chance: the mean and the central "
            "95% if heads were drawn at random (hypergeometric)."
        )
    return Section(
        "Heads",
        said,
        [Figure("heads", "How few heads are enough", on, chart)],
        [Table.of(table[table["chosen"]], columns, "few heads", caption), *functions],
    )


def function_heads(shared: pd.DataFrame, effects: pd.DataFrame) -> list[Table]:
    """Which heads of circuits are function-vector heads."""
    of = int(shared["function"].iloc[0])
    columns: list[Column | str] = [
        "behaviour", Column("heads that", of="which"), Column("n", of="heads", places=0),
        Column(f"among the first {of}", of="shared", places=0), Column("by chance", of="chance"),
    ]  # fmt: skip
    caption = "Function-vector heads among them"
    ranked: list[Column | str] = ["head", "effect", Column(f"among the first {of}", of="function")]
    gain = "Gain of the answer's probability, mean over tasks"
    return [
        Table.of(shared, columns, "function-vector heads", caption),
        Table.of(effects, ranked, "effects in tasks", gain),
    ]


def overlap(names: Sequence[str], shared: pd.DataFrame, crossed: pd.DataFrame, on: str) -> Section:
    """Edges that circuits share, and circuits on other behaviours' pairs."""
    grid = crossed.pivot(index="circuit", columns="pairs", values="faithfulness").loc[[*names], [*names]]
    values = grid.to_numpy()
    texts = [[number(value) for value in row] for row in values]
    heat = Heat(names, names, values.clip(-1, 1).tolist(), 1.0, bool((values < -0.05).any()), texts)
    chart = heat_chart(heat, x_name="pairs", y_name="circuit", value_name="faithfulness")
    random = Column("random circuits", of="random")
    caption = "Edges that both have, as a share of those that either has; random: mean and central 95%"
    return Section(
        "Are circuits shared",
        (),
        [Figure("crossed", "Circuits on other behaviours' pairs", on, chart, 540)],
        [
            Table.of(shared, ["one", "other", "shared", random], "shared edges", caption),
            Table.of(
                crossed,
                ["circuit", "pairs", "faithfulness", random],
                "crossed",
                "Each circuit on the held-out pairs of each behaviour",
            ),
        ],
    )
