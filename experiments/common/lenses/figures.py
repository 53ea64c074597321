"""Figures of the pages on lenses: profiles over layers, and grids of layer pairs."""

from collections.abc import Mapping, Sequence

import pandas as pd

from interp.lenses.layer_pairs import Pair
from interp.lenses.residual_stream import EMBEDDING, layer_name
from interp.render.charts.curves import Curve, curve_chart
from interp.render.charts.heat import Heat, heat_chart
from interp.render.figure import Draw
from interp.render.page import Column, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate, Number

AT_EMBEDDING: tuple[tuple[Number, str], ...] = ((EMBEDDING, "embedding"),)


def by_layer(
    curves: Mapping[str, tuple[Role, pd.DataFrame]],
    measure: str,
    *,
    y_name: str,
    marks: Sequence[tuple[Number, str]] = AT_EMBEDDING,
) -> Draw:
    """Draws a curve for each name: `measure` with its interval over the column `layer` (-1: embedding)."""
    drawn = [
        Curve.of(name, role, rows, "layer", measure)
        for name, (role, rows) in curves.items()
        if not rows.empty
    ]
    return curve_chart(drawn, x_name="layer", y_name=y_name, marks=marks)


def pair_grid(frame: pd.DataFrame, chosen: Pair | None = None, top: Number | None = None) -> Draw:
    """Draws shares of right items by source layer (y) and target layer (x), and frames one pair."""
    table = frame.pivot(index="source", columns="target", values="right").sort_index(ascending=False)
    sources, targets = ([int(layer) for layer in axis] for axis in (table.index, table.columns))
    heat = Heat(
        rows=[layer_name(layer) for layer in sources],
        columns=[layer_name(layer) for layer in targets],
        values=table.to_numpy(dtype=float).tolist(),
        texts=[["" if v != v else f"{v:.2f}" for v in row] for row in table.to_numpy(dtype=float)],
        top=float(frame["right"].max() or 1.0) if top is None else top,
        marked=[] if chosen is None else [(sources.index(chosen[0]), targets.index(chosen[1]))],
    )
    return heat_chart(heat, x_name="target layer", y_name="source layer", value_name="share right")


def condition_rows(
    table: pd.DataFrame, marks: Sequence[tuple[Role, str, str]]
) -> list[tuple[Role, Estimate]]:
    """Returns one group's estimates for a figure of shares; a mark is (role, condition, control or "")."""
    found = []
    for role, condition, of in marks:
        row = table[(table["condition"] == condition) & (table["control"] == of)]
        if not row.empty:
            found.append((role, Estimate.of(row.iloc[0].to_dict(), "right")))
    return found


def conditions_table(title: str, caption: str, table: pd.DataFrame) -> Table:
    """Tabulates the results of `interp.lenses.layer_pairs.report_sweep` by group."""
    ends = {
        end: ["" if layer != layer else layer_name(int(layer)) for layer in table[end]]
        for end in ("source", "target")
    }
    columns = (
        "group", Column("vectors", of="control"), Column("pair", of="condition"),
        Column("from layer", of="source"), Column("into layer", of="target"), "right", Column("n", places=0),
    )  # fmt: skip
    return Table.of(
        table.assign(control=table["control"].replace("", "own"), **ends), columns, title, caption
    )
