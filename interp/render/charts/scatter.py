"""One measure of an effect against another, point by point, such as an approximation against the exact."""

import math
from collections.abc import Sequence

import altair as alt

from interp.render.charts.parts import DASHED, data, framed, linear_scale, nothing, zero
from interp.render.digits import count, percent
from interp.render.figure import Draw
from interp.render.palette import Role
from interp.render.theme import SHAPES, var
from interp.statistics.estimate import Number

MOST = 1500  # points drawn
LARGEST = 500  # points with the largest effects, which are always drawn


def scatter_chart(
    pairs: Sequence[tuple[Number, Number]], *, role: Role, x_name: str, y_name: str, identity: bool = True
) -> Draw:
    """A dot for each pair, with lines at zero, on axes that are symmetric around zero.

    Args:
        pairs: Such as (exact effect, approximation); pairs that are not finite are only counted.
        role: What the effects are of.
        x_name: The first of a pair with its unit.
        y_name: The second with its unit.
        identity: Whether both have one unit: they then share limits, and the line y = x is drawn.
    """
    finite = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    if not finite:
        return nothing("No pairs to draw.")
    x_end, y_end = (1.05 * (max(abs(pair[i]) for pair in finite) or 1.0) for i in (0, 1))
    if identity:
        x_end = y_end = max(x_end, y_end)
    shown = thinned_pairs(finite)
    many = f"{count(len(finite))} pairs"
    notes = [many if len(shown) == len(finite) else f"{count(len(shown))} of {many} drawn"]
    notes += [f"{count(len(pairs) - len(finite))} not defined"] if len(finite) < len(pairs) else []
    agree = sum((a > 0) == (b > 0) and (a < 0) == (b < 0) for a, b in finite) / len(finite)
    says = f"{y_name} against {x_name}: {many}, {percent(agree)} of one sign"

    def draw(width: int) -> alt.TopLevelMixin:
        x = alt.X("x:Q", title=x_name, scale=linear_scale((-x_end, x_end)), axis=alt.Axis(tickCount=5))
        y = alt.Y("y:Q", title=None, scale=linear_scale((-y_end, y_end)), axis=alt.Axis(tickCount=5))
        dots = data({"x": a, "y": b} for a, b in shown).encode(x=x, y=y)
        dots = dots.mark_point(color=var(role), shape=SHAPES[role], opacity=0.38, size=22)
        equal = data([{"x": -x_end, "y": -y_end}, {"x": x_end, "y": y_end}]).encode(
            x=alt.X("x:Q"), y=alt.Y("y:Q")
        )
        note = data([{"text": "\n".join(notes)}]).mark_text(align="left", baseline="top")
        layers = [
            *zero((-y_end, y_end)),
            *zero((-x_end, x_end), "x"),
            dots.mark_point(color=var(role), shape=SHAPES[role], opacity=0.38, size=22).properties(
                name="points"
            ),
            *([equal.mark_line(color=var("muted"), strokeWidth=1, strokeDash=DASHED)] if identity else []),
            note.encode(x=alt.XValue(6), y=alt.YValue(4), text=alt.Text("text:N")),
        ]
        return framed(layers, width, width - 60, says, y_name + (" (dashed: equal)" if identity else ""))

    return draw


def thinned_pairs(pairs: Sequence[tuple[Number, Number]], most: int = MOST) -> list[tuple[Number, Number]]:
    """At most `most` of the pairs, always the same: those of the largest first number, then every n-th."""
    if len(pairs) <= most:
        return list(pairs)
    ranked = sorted(pairs, key=lambda pair: -abs(pair[0]))
    kept = min(LARGEST, most)
    rest, room = ranked[kept:], most - kept
    return ranked[:kept] + [rest[i * len(rest) // room] for i in range(room)]
