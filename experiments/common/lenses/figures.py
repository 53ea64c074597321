"""Figures of the pages on lenses: profiles over layers, and grids of layer pairs."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from experiments.common.vectors.figures import shares
from interp.lenses.layer_pairs import Pair
from interp.lenses.residual_stream import EMBEDDING, layer_name
from interp.render.data import Estimate, Kind, Number
from interp.render.dose_figure import Curve, dose_response
from interp.render.heat_figure import Heat, heat_grid
from interp.render.page import Cell, Column, Table

Draw = Callable[..., str]
AT_EMBEDDING: tuple[tuple[Number, str], ...] = ((EMBEDDING, "embedding"),)


def by_layer(
    curves: Mapping[str, tuple[Kind, pd.DataFrame]],
    measure: str,
    *,
    y_name: str,
    marks: Sequence[tuple[Number, str]] = AT_EMBEDDING,
) -> Draw:
    """A curve for each name: `measure` with its interval over the column `layer`; the embedding is -1."""
    drawn = [
        Curve(
            name,
            kind,
            [
                (int(row["layer"]), Estimate.of({str(k): v for k, v in row.items()}, measure))
                for row in rows.sort_values("layer").to_dict("records")
            ],
        )
        for name, (kind, rows) in curves.items()
        if not rows.empty
    ]
    return lambda width, standalone=False: dose_response(
        drawn, x_name="layer", y_name=y_name, marks=marks, width=width, standalone=standalone
    )


def pair_grid(frame: pd.DataFrame, chosen: Pair | None = None, top: Number | None = None) -> Draw:
    """Shares of right items, source layers upwards and target layers to the right; one pair is framed."""
    table = frame.pivot(index="source", columns="target", values="right").sort_index(ascending=False)
    sources, targets = list(table.index), list(table.columns)
    heat = Heat(
        rows=[layer_name(layer) for layer in sources],
        columns=[layer_name(layer) for layer in targets],
        values=table.to_numpy(dtype=float).tolist(),
        texts=[["" if v != v else f"{v:.2f}" for v in row] for row in table.to_numpy(dtype=float)],
        top=float(frame["right"].max() or 1.0) if top is None else top,
        marked=[] if chosen is None else [(sources.index(chosen[0]), targets.index(chosen[1]))],
    )
    return lambda width, standalone=False: heat_grid(
        heat,
        x_name="target layer",
        y_name="source layer",
        value_name="share right",
        width=width,
        standalone=standalone,
    )


def share_rows(
    rows: Sequence[tuple[str, Sequence[tuple[Kind, Estimate]]]], x_name: str, names: Mapping[Kind, str]
) -> Draw:
    """A row for each label with its estimates, from 0 to 1."""
    return lambda width, standalone=False: shares(rows, x_name=x_name, names=names, standalone=standalone)(
        width
    )


def condition_rows(
    table: pd.DataFrame, marks: Sequence[tuple[Kind, str, str]]
) -> list[tuple[Kind, Estimate]]:
    """One group's marks in a figure of shares; each is a kind, a condition, and a control or "" for none."""
    found = []
    for kind, condition, of in marks:
        row = table[(table["condition"] == condition) & (table["control"] == of)]
        if not row.empty:
            values = {str(key): value for key, value in row.iloc[0].items()}
            found.append((kind, Estimate.of(values, "right")))
    return found


def conditions_table(title: str, caption: str, table: pd.DataFrame) -> Table:
    """What `interp.lenses.layer_pairs.report_sweep` says, by group."""
    columns = [
        Column("group"), Column("vectors"), Column("pair"), Column("from layer"), Column("into layer"),
        Column("right"), Column("n", places=0),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for row in table.to_dict("records"):
        ends = [None if row[end] != row[end] else layer_name(int(row[end])) for end in ("source", "target")]
        share = Estimate.of({str(key): value for key, value in row.items()}, "right")
        rows.append(
            [
                row["group"],
                row["control"] or "own",
                row["condition"],
                *(end or "" for end in ends),
                share,
                row["n"],
            ]
        )
    return Table(title, caption, columns, rows)
