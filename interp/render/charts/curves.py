"""Curves with their bands: a quantity over layers, doses, sparsities or training tokens."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import altair as alt
import pandas as pd

from interp.render.charts.parts import (
    LETTER,
    LINE,
    RIGHT,
    ROOMY,
    Ends,
    Marks,
    across,
    apart,
    colour,
    cut,
    data,
    down,
    estimate_row,
    framed,
    limits,
    linear_scale,
    nothing,
    points,
    reach_above,
    reference,
    zero,
)
from interp.render.digits import significant, with_interval
from interp.render.figure import Draw
from interp.render.palette import Role
from interp.render.theme import var
from interp.statistics.estimate import Estimate, Number

DASHES = ([1, 0], [8, 4], [2, 3])  # tell curves of one role apart
MOST_MARKED = 40  # points of a curve up to which each is marked


@dataclass(frozen=True)
class Curve:
    """Estimates at places of the horizontal axis, as pairs (place, estimate); they need not be evenly spaced.

    Curves of one name share a label, such as several random controls. `natural` is the range of places that
    occurs without an intervention, drawn as a strip under the curves.
    """

    name: str
    role: Role
    points: Sequence[tuple[Number, Estimate]]
    natural: Ends | None = None

    @classmethod
    def of(cls, name: str, role: Role, frame: pd.DataFrame, x: str, measure: str) -> "Curve":
        """Makes a curve of a table: the columns `x`, and `measure` with its interval."""
        rows = frame.to_dict("records")
        return cls(name, role, [(row[x], Estimate.of(row, measure)) for row in rows])

    def drawn(self) -> list[tuple[Number, Estimate]]:
        """The points, sorted by place."""
        return sorted((point for point in self.points if math.isfinite(point[0])), key=lambda point: point[0])

    def known(self) -> list[tuple[Number, Number]]:
        """Place and value of the points whose value is finite."""
        return [(x, e.point) for x, e in self.drawn() if e.point is not None]


def curve_chart(
    lines: Sequence[Curve], *, x_name: str, y_name: str, marks: Marks = (), height: int = 250
) -> Draw:
    """Lines through estimates with their 95% bands; nulls in grey under the others.

    Args:
        lines: Curves to draw.
        x_name: What the places are, with its unit.
        y_name: What was estimated, with its unit.
        marks: Places of dashed lines, with their names ("zero", "mean").
        height: Pixels of the plot on a wide screen.
    """
    lines = sorted((c for c in lines if c.known()), key=lambda c: c.role != "null")
    if not lines:
        return nothing("No values to draw.")
    roles = {c.name: c.role for c in sorted(lines, key=lambda c: c.role == "null")}
    lanes = [c for c in lines if c.natural]
    rows = [
        {
            "curve": n,
            "name": c.name,
            "x": x,
            "says": f"{c.name} at {significant(x)}: {with_interval(e)}",
            **estimate_row(e, "y"),
        }
        for n, c in enumerate(lines)
        for x, e in c.drawn()
    ]
    places = [
        *(row["x"] for row in rows),
        *(x for x, _ in marks),
        *(x for c in lanes for x in c.natural or ()),
    ]
    x_ends, y_ends = limits(places, 0.03), limits(y for c in lines for _, e in c.drawn() for y in e.reach)
    is_null = alt.FieldOneOfPredicate("name", [name for name, role in roles.items() if role == "null"])
    pale = alt.condition(is_null, alt.value(0.55), alt.value(1))
    says = f"{y_name} against {x_name}. " + "; ".join(_from_to(c) for c in lines if c.role != "null")

    def draw(width: int) -> alt.TopLevelMixin:
        tall = height if width >= ROOMY else min(height, 200)
        x = across(x_name, x_ends, width, offset=LINE * len(lanes))
        y = alt.Y("y:Q", title=None, scale=linear_scale(y_ends), axis=alt.Axis(tickCount=4))
        lined = data(rows).encode(x=x, y=y, detail=alt.Detail("curve:N"), color=colour(roles))
        bands = lined.mark_area(opacity=0.17).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
        layers = [
            *zero(y_ends),
            *reference(marks, x_ends, width),
            bands.properties(name="bands"),
            lined.mark_line().encode(strokeDash=_dashes(roles), opacity=pale).properties(name="curves"),
        ]
        if len(rows) <= MOST_MARKED * len(lines):
            layers.append(points(lined, roles).properties(name="points"))
        for n, curve in enumerate(lanes):
            layers += _lane(curve, tall + LINE * n, x_ends, width, len(lanes) > 1)
        if any(roles):
            layers += (
                _end_labels(lines, roles, y_ends, tall, width)
                if width >= ROOMY
                else _key(roles, reach_above(marks, x_ends, width), width)
            )
        return framed(layers, width, tall, says, y_name)

    return draw


def _dashes(roles: Mapping[str, Role]) -> alt.StrokeDash:
    before = [list(roles.values())[:n].count(role) for n, role in enumerate(roles.values())]
    scale = alt.Scale(domain=list(roles), range=[DASHES[n % len(DASHES)] for n in before])
    return alt.StrokeDash("name:N", scale=scale, legend=None)


def _end_labels(
    lines: Sequence[Curve], roles: Mapping[str, Role], y_ends: Ends, height: int, width: int
) -> list[alt.Chart]:
    """Names at the ends of the lines, moved apart until they do not overlap."""
    ends = {name: [c.known()[-1][1] for c in lines if c.name == name] for name in roles}
    per_pixel = (y_ends[1] - y_ends[0]) / height
    places = apart([-sum(last) / len(last) / per_pixel for last in ends.values()], LINE)
    over = max(0.0, max(places) + y_ends[0] / per_pixel)
    named = data(
        {"name": name, "y": -(place - over) * per_pixel, "text": cut(name, 0.3 * width), "says": name}
        for name, place in zip(roles, places, strict=True)
    ).encode(x=RIGHT, y=alt.Y("y:Q"))
    text = named.mark_text(align="left", dx=17).encode(text=alt.Text("text:N")).properties(name="names")
    return [text, points(named, roles).encode(xOffset=alt.XOffsetValue(10))]


def _key(roles: Mapping[str, Role], above: Number, width: int) -> list[alt.Chart]:
    """A key above the plot with one line for each name."""
    named = data(
        {"name": name, "y": -above - 6 - LINE * (len(roles) - n), "text": cut(name, width - 90), "says": name}
        for n, name in enumerate(roles)
    ).encode(y=down("y"))
    line = named.mark_rule(strokeWidth=1.75).encode(x=alt.XValue(0), x2=alt.X2Value(26), color=colour(roles))
    text = (
        named.mark_text(align="left")
        .encode(x=alt.XValue(33), text=alt.Text("text:N"))
        .properties(name="names")
    )
    return [line.encode(strokeDash=_dashes(roles)), points(named.encode(x=alt.XValue(13)), roles), text]


def _lane(curve: Curve, top: int, ends: Ends, width: int, several: bool) -> list[alt.Chart]:
    """The natural range of a curve as a strip, with its name at the side that has room, or else on it."""
    low, high = sorted(curve.natural or (0.0, 0.0))
    name = "natural range" + (f": {curve.name}" if several else "")
    before, after = low - ends[0], ends[1] - high
    align: Literal["left", "center", "right"] = "left" if after >= before else "right"
    at, dx = (high, 6) if after >= before else (low, -6)
    if max(before, after) < (10 + LETTER * len(name)) / (0.7 * width) * (ends[1] - ends[0]):
        align, at, dx = "center", (low + high) / 2, 0
    says = f"{curve.name}: natural range {significant(low)} to {significant(high)}"
    placed = data([{"low": low, "high": high, "x": at, "text": name, "says": says}])
    strip = placed.mark_rect(color=var(curve.role), opacity=0.38).encode(
        x=alt.X("low:Q"),
        x2=alt.X2("high:Q"),
        y=alt.YValue(top + 5),
        y2=alt.Y2Value(top + 11),
        description=alt.Description("says:N"),
    )
    return [
        strip,
        placed.mark_text(align=align, dx=dx).encode(
            x=alt.X("x:Q"), y=alt.YValue(top + 8), text=alt.Text("text:N")
        ),
    ]


def _from_to(curve: Curve) -> str:
    (first, before), (last, after) = curve.known()[0], curve.known()[-1]
    return f"{curve.name}: {before:.3g} at {first:g}, {after:.3g} at {last:g}"
