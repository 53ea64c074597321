"""Distributions by group: histograms in rows, or every value as a dot, with means, medians and nulls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from interp.render.charts.parts import (
    RIGHT,
    ROOMY,
    Marks,
    Row,
    across,
    colour,
    cut,
    data,
    down,
    estimate_row,
    framed,
    limits,
    nothing,
    points,
    reference,
    row_labels,
    texts,
    zero,
)
from interp.render.digits import count, percent, significant, with_interval
from interp.render.figure import Draw
from interp.render.palette import ROLES, Role
from interp.render.theme import var
from interp.statistics.estimate import Estimate, Number

BINS = 48
LEAST = 1.5  # pixels of a bin that holds one value
DOT = 6  # pixels from one dot to the next
UNKNOWN = Estimate()
HEAD: dict[str, Any] = {"align": "left", "fontSize": 13, "fontWeight": 600}


@dataclass(frozen=True)
class Group:
    """Values under one name; `mean` and `null` (with its range) are drawn where they are known.

    `notes` name what each value belongs to.
    """

    name: str
    values: Sequence[Number]
    role: Role = "a"
    mean: Estimate = UNKNOWN
    null: Estimate = UNKNOWN
    notes: Sequence[str] = ()

    def finite(self) -> np.ndarray:
        """The finite values, sorted."""
        values = np.asarray(self.values, dtype=float)
        return np.sort(values[np.isfinite(values)])

    def middle(self) -> Estimate:
        """The mean with its interval, or else the median."""
        values = self.finite()
        if self.mean.point is not None or not len(values):
            return self.mean
        return Estimate(float(np.median(values)))


def histogram_chart(
    groups: Sequence[Group],
    *,
    x_name: str,
    bins: Sequence[Number] | None = None,
    unit: str = "tokens",
    null_name: str = "null",
    height: int = 40,
) -> Draw:
    """One histogram a row over shared bins, heights scaled per row, nulls last and in grey.

    Args:
        groups: Drawn from top to bottom, each with its mean or its median.
        x_name: The quantity with its unit.
        bins: The edges of the bins; None for 48 of one width.
        unit: What the values count, in the plural.
        null_name: Name of the grey bands.
        height: Pixels of a row.
    """
    groups = sorted(groups, key=lambda group: group.role == "null")
    everything = np.concatenate([np.empty(0), *(group.finite() for group in groups)])
    if not len(everything):
        return nothing("No values to draw.")
    if bins is None:
        bins = np.linspace(*limits([everything.min(), everything.max()], 0.02), BINS + 1).tolist()
    ends = (bins[0], bins[-1])
    places: list[Row] = [
        {"group": n, "role": group.role, "top": height * n + 8, "base": height * (n + 1)}
        for n, group in enumerate(groups)
    ]
    outlines = [
        row for group, at in zip(groups, places, strict=True) for row in _outline(group, at, bins, unit)
    ]
    means = [
        at | estimate_row(g.middle()) | {"says": with_interval(g.middle())}
        for g, at in zip(groups, places, strict=True)
    ]
    nulls = _nulls(groups, places, null_name)
    says = f"{x_name} by group. " + "; ".join(f"{g.name}: {with_interval(g.middle())}" for g in groups)

    def draw(width: int) -> alt.TopLevelMixin:
        own = colour({role: role for role in ROLES}, column="role")
        names, sizes, tallest = [], [], []
        for group, at in zip(groups, places, strict=True):
            values, middle = group.finite(), (at["top"] + at["base"]) / 2 - 4
            names.append((cut(group.name, 0.34 * width), middle - 6))
            sizes.append(
                {"y": middle + 9, "text": f"n {count(len(values))}" if len(values) else f"no {unit}"}
            )
            if len(values):
                share = np.histogram(values, bins)[0].max() / len(values)
                tallest.append({"y": at["base"] - 6, "text": percent(share)})
        shape = data(outlines).encode(
            x=across(x_name, ends, width), y=down("y"), y2=alt.Y2("base:Q"), detail=alt.Detail("group:N")
        )
        outline = shape.mark_area(interpolate="step-after", fillOpacity=0.3, line={"strokeWidth": 1})
        middle = data(means).encode(y=down("top"), description=alt.Description("says:N"))
        line = middle.mark_rule(strokeWidth=1.75, color=var("ink")).encode(
            x=alt.X("x:Q"), y2=alt.Y2("base:Q")
        )
        whisker = middle.mark_rule(strokeWidth=2, color=var("ink")).encode(
            x=alt.X("low:Q"), x2=alt.X2("high:Q")
        )
        layers = [
            nulls,
            *zero(ends, "x"),
            data(places).mark_rule(color=var("line")).encode(y=down("base")),
            outline.encode(color=own).properties(name="histograms"),
            line.properties(name="middles"),
            whisker.properties(name="whiskers"),
            row_labels(names),
            texts(sizes, x=alt.XValue(-8)).mark_text(align="right"),
            texts(tallest, x=RIGHT, dx=8),
        ]
        kind = "mean" if any(g.mean.point is not None for g in groups) else "median"
        note = f"share of a row's {unit}, heights scaled per row; " if width >= ROOMY else ""
        note += f"line: {kind}; right: tallest bin"
        note += f"; grey: {null_name}" if any(g.null.ends for g in groups) else ""
        return framed(layers, width, height * len(groups), says, note)

    return draw


def swarm_chart(
    groups: Sequence[Group],
    *,
    x_name: str,
    marks: Marks = (),
    reach: Sequence[Number] = (),
    unit: str = "values",
    null_name: str = "null",
    height: int = 92,
) -> Draw:
    """Every value as a dot, a row a group, the mean with its interval over them, the null as a grey band.

    Args:
        groups: Drawn from top to bottom.
        x_name: The quantity with its unit.
        marks: Values worth a dashed line, with what they are.
        reach: What the axis shows in any case.
        unit: What the values count, in the plural.
        null_name: Name of the grey bands.
        height: Pixels of a row.
    """
    if not any(len(group.finite()) for group in groups):
        return nothing("No values to draw.")
    values = [v for g in groups for v in (*g.finite().tolist(), *g.null.reach, *g.mean.reach)]
    ends = limits([*values, *reach, *(value for value, _ in marks)], 0.02)
    says = f"{x_name}. " + "; ".join(f"{g.name}: mean {with_interval(g.mean)}" for g in groups)
    roles = {group.name: group.role for group in groups}
    places: list[Row] = [
        {"name": group.name, "y": height * n + 56, "top": height * n + 24, "base": height * n + 88}
        for n, group in enumerate(groups)
    ]
    nulls = _nulls(groups, places, null_name)
    first = next(
        (at | estimate_row(g.null) for g, at in zip(groups, places, strict=True) if g.null.ends), None
    )

    def draw(width: int) -> alt.TopLevelMixin:
        roomy = width >= ROOMY
        pixel = (ends[1] - ends[0]) / (width - 30)
        dots, heads, means = [], [], []
        for group, at in zip(groups, places, strict=True):
            dots += _swarm(group, at["y"], pixel)
            mean = f"{len(group.finite())} {unit}, mean {with_interval(group.mean)}"
            heads.append({"y": at["top"] - 12, "text": group.name})
            means.append(at | estimate_row(group.mean) | {"says": f"{group.name}: {mean}"})
            means[-1]["text"] = mean if roomy else with_interval(group.mean)
        own = colour(roles)
        dot = points(data(dots).encode(x=across(x_name, ends, width), y=down("y")), roles)
        mean_of = data(means).encode(x=alt.X("x:Q"), y=down("y"), color=own)
        named = [first | {"text": null_name}] if first is not None and roomy else []
        summary = data(means).mark_text(align="right").encode(x=RIGHT, y=down("top"), text=alt.Text("text:N"))
        layers = [
            nulls,
            *reference(marks, ends, width),
            dot.mark_point(size=30, opacity=0.38).properties(name="dots"),
            mean_of.mark_rule(strokeWidth=2)
            .encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"))
            .properties(name="whiskers"),
            mean_of.mark_rule(strokeWidth=2).encode(y=down("top"), y2=alt.Y2("base:Q")),
            points(mean_of, roles).mark_point(size=100, stroke=var("paper"), strokeWidth=1.5),
            data(named)
            .mark_text(align="left", dx=5, dy=8)
            .encode(x=alt.X("high:Q"), y=down("top"), text=alt.Text("text:N")),
            texts(heads, x=alt.XValue(0)).mark_text(stroke=var("paper"), strokeWidth=3, **HEAD),
            texts(heads, x=alt.XValue(0)).mark_text(color=var("ink"), **HEAD),
            summary.mark_text(align="right", dy=-12),
        ]
        return framed(layers, width, height * len(groups), says)

    return draw


def _nulls(groups: Sequence[Group], places: Sequence[Row], name: str) -> alt.Chart:
    """The ranges of the nulls as grey bands."""
    rows = [
        at | estimate_row(group.null) | {"says": f"{name}: {with_interval(group.null)}"}
        for group, at in zip(groups, places, strict=True)
        if group.null.ends
    ]
    band: alt.Chart = data(rows).mark_rect(color=var("null"), opacity=0.3)
    band = band.encode(
        x=alt.X("low:Q"),
        x2=alt.X2("high:Q"),
        y=down("top"),
        y2=alt.Y2("base:Q"),
        description=alt.Description("says:N"),
    )
    return band.properties(name="nulls")


def _outline(group: Group, at: Row, bins: Sequence[Number], unit: str) -> list[Row]:
    """The corners of a histogram, in pixels from the top."""
    values = group.finite()
    if not len(values):
        return []
    many = np.histogram(values, bins)[0]
    tall = at["base"] - at["top"]
    heights = np.where(many, np.maximum(LEAST, tall * many / max(1, many.max())), 0).tolist()
    says = f"{group.name}: {count(len(values))} {unit}, median {significant(float(np.median(values)))}, "
    says += f"{significant(float(values[0]))} to {significant(float(values[-1]))}"
    steps = zip(bins, [*heights, heights[-1]], strict=True)
    return [at | {"x": x, "y": at["base"] - up, "says": says} for x, up in steps]


def _swarm(group: Group, middle: Number, per_pixel: Number) -> list[Row]:
    """Dots pushed up and down until they do not cover one another, in a fixed order."""
    beside: dict[int, int] = {}
    dots = []
    notes = group.notes or [""] * len(group.values)
    for value, note in sorted(zip(group.values, notes, strict=True)):
        if not np.isfinite(value):
            continue
        column = round(value / per_pixel / DOT)
        place = beside[column] = beside.get(column, -1) + 1
        shift = max(-30.0, min(30.0, (place + 1) // 2 * (DOT + 0.2) * (1 if place % 2 else -1)))
        says = f"{note}: {significant(value)}" if note else significant(value)
        dots.append({"name": group.name, "x": column * DOT * per_pixel, "y": middle + shift, "says": says})
    return dots
