"""Estimates side by side: dots with their intervals, a row a label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from interp.render.charts.parts import (
    LETTER,
    LINE,
    RIGHT,
    ROOMY,
    Marks,
    across,
    colour,
    data,
    down,
    estimate_row,
    framed,
    limits,
    nothing,
    points,
    reach_above,
    reference,
    row_labels,
    texts,
    wrapped,
)
from interp.render.digits import UNDEFINED, significant, with_interval
from interp.render.figure import Draw
from interp.render.palette import ROLES, Role
from interp.render.theme import var
from interp.statistics.estimate import Estimate, Number


@dataclass(frozen=True)
class Entry:
    """One estimate of a row; `note` is a few words such as "n 120"."""

    role: Role
    estimate: Estimate
    note: str = ""


@dataclass(frozen=True)
class EstimateRow:
    """What was estimated, and its estimates from top to bottom."""

    label: str
    entries: Sequence[Entry]


def estimate_chart(
    rows: Sequence[EstimateRow],
    *,
    x_name: str,
    names: Mapping[Role, str] | None = None,
    null: Number | None = 0.0,
    marks: Marks = (),
    step: int = 13,
) -> Draw:
    """Dots with their 95% whiskers, and a dashed line at the value of no effect.

    Args:
        rows: Drawn from top to bottom.
        x_name: The estimated quantity with its unit.
        names: What the marks of each role stand for.
        null: The value that means no effect; None if there is none.
        marks: Other values worth a dashed line, with what they are.
        step: Pixels from one estimate of a row to the next.
    """
    if not any(row.entries for row in rows):
        return nothing("No estimates to draw.")
    names = names or {}
    roles = {
        names.get(role, role): role for role in ROLES if any(e.role == role for r in rows for e in r.entries)
    }
    marks = [*marks, *([] if null is None else [(null, f"no effect: {significant(null)}")])]
    values = [value for row in rows for entry in row.entries for value in entry.estimate.reach]
    ends = limits([*values, *(value for value, _ in marks)], 0.04)
    says = f"{x_name}. " + "; ".join(
        f"{row.label}: " + ", ".join(_says(entry, names) for entry in row.entries) for row in rows
    )

    def draw(width: int) -> alt.TopLevelMixin:
        roomy = width >= ROOMY
        labels = [wrapped(row.label, 0.4 * width, max(2, step * len(row.entries) // LINE)) for row in rows]
        heights = [
            max(step * max(1, len(row.entries)), (LINE - 1) * (label.count("\n") + 1)) + min(8, step - 4)
            for row, label in zip(rows, labels, strict=True)
        ]
        tops = np.cumsum([0, *heights]).tolist()
        middles = [top + height / 2 for top, height in zip(tops, heights, strict=False)]
        marked = [
            {
                "y": middle + step * (n - (len(row.entries) - 1) / 2),
                "row": row.label,
                "name": names.get(entry.role, entry.role),
                "text": entry.note,
                "says": f"{row.label}, {_says(entry, names)}",
                **estimate_row(entry.estimate),
            }
            for row, middle in zip(rows, middles, strict=True)
            for n, entry in enumerate(row.entries)
        ]
        undefined = [row | {"text": f"{UNDEFINED} not defined"} for row in marked if row["x"] is None]
        dots = data(marked).encode(x=across(x_name, ends, width), y=down("y"))
        plot = width - LETTER * max(len(line) for label in labels for line in label.split("\n"))
        legend = _legend(list(roles), plot, reach_above(marks, ends, width)) if names else None
        whiskers = dots.mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q"), x2=alt.X2("high:Q"), color=colour(roles, legend)
        )
        layers = [
            data({"y": top} for top in tops[:-1]).mark_rule(color=var("line")).encode(y=down("y")),
            *reference(marks, ends, width),
            whiskers.properties(name="whiskers"),
            points(dots, roles, legend).properties(name="points"),
            texts(undefined, x=alt.XValue(4)),
            row_labels(zip(labels, middles, strict=True)),
            *([texts(marked, x=RIGHT, dx=8)] if roomy and step > LETTER else []),
        ]
        return framed(layers, width, tops[-1], says)

    return draw


def _legend(names: Sequence[str], width: Number, above: Number) -> alt.Legend:
    columns = max(1, int(width // (LETTER * max(map(len, names)) + 36)))
    return alt.Legend(columns=columns, offset=8 + above)


def _says(entry: Entry, names: Mapping[Role, str]) -> str:
    note = f", {entry.note}" if entry.note else ""
    return f"{names.get(entry.role, '')} {with_interval(entry.estimate)}{note}".strip()
