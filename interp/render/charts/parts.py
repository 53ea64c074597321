"""Parts of the charts: axes that show zero if it is near, marks by role, texts that do not overlap.

A chart is a layered Altair chart of a given width in pixels, which includes the texts outside its axes.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from interp.render.figure import Draw
from interp.render.palette import Role
from interp.render.theme import SHAPES, var
from interp.statistics.estimate import Estimate, Number

Row = dict[str, Any]
Ends = tuple[Number, Number]
Marks = Sequence[tuple[Number, str]]
ROOMY = 500  # pixels from which there is room for whole phrases
LETTER = 6.0  # pixels that a letter of a label takes on average
LINE = 15  # pixels from one line of small text to the next
NEAR_ZERO = 0.5  # zero is shown if it is no further from the values than this share of their span
DASHED = [3, 3]
RIGHT = alt.XValue("width")


def framed(
    layers: Sequence[alt.Chart], width: int, height: Number, says: str, title: str = ""
) -> alt.TopLevelMixin:
    """The layers as one chart, drawn in their order.

    Args:
        layers: What is drawn.
        width: Pixels of everything.
        height: Pixels of the plot, without its axis and what stands above it.
        says: What the chart shows, in words for screen readers.
        title: Title of the vertical axis, written horizontally above it.
    """
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    chart = alt.layer(*layers).properties(width=width, height=height, autosize=fit, description=says)
    return chart.properties(title=wrapped(title, width - 10, 3).split("\n")) if title else chart


def nothing(says: str) -> Draw:
    """A chart without data, with a sentence instead."""
    text = data([{"text": says}]).mark_text(align="left", fontSize=12)
    placed = text.encode(x=alt.XValue(10), y=alt.YValue(12), text=alt.Text("text:N"))
    return lambda width: framed([placed], width, 24, says)


def data(rows: Iterable[Row]) -> alt.Chart:
    """A chart with these rows as data, without a mark."""
    return alt.Chart(alt.InlineData(values=list(rows)))


def estimate_row(estimate: Estimate, value: str = "x") -> Row:
    """The columns of an estimate: its value, "low" and "high", each None where it is not defined."""
    low, high = estimate.ends or (None, None)
    return {value: estimate.point, "low": low, "high": high}


def limits(values: Iterable[Number], room: Number = 0.05) -> Ends:
    """Ends of an axis for all finite values, with a margin on both sides, and zero if it is near."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    near = NEAR_ZERO * (high - low)
    low, high = (0.0 if 0 < low <= near else low), (0.0 if -near <= high < 0 else high)
    margin = room * (high - low or abs(high) or 1.0)
    return low - margin, high + margin


def across(name: str, ends: Ends, width: int, **axis: Any) -> alt.X:
    """The horizontal axis of the column "x", titled `name`."""
    ticks = alt.Axis(tickCount=6 if width >= ROOMY else 4, **axis)
    return alt.X("x:Q", title=wrapped(name, 0.8 * width).split("\n"), scale=linear_scale(ends), axis=ticks)


def linear_scale(ends: Ends) -> alt.Scale:
    """A linear scale between two ends."""
    return alt.Scale(domain=list(ends), nice=False, zero=False)


def down(column: str) -> alt.Y:
    """The vertical place of marks by a column in pixels from the top of the plot, without an axis."""
    return alt.Y(f"{column}:Q", axis=None, scale=None)


def placed(rows: Iterable[Row]) -> alt.Chart:
    """A chart of rows at "x" and "y" in pixels from the top left of the plot, without axes."""
    return data(rows).encode(x=alt.X("x:Q", axis=None, scale=None), y=down("y"))


def words(rows: Iterable[Row], **mark: Any) -> alt.Chart:
    """Draws the column "text" of rows at "x" and "y" in pixels."""
    written: alt.Chart = placed(rows).mark_text(**mark)
    return written.encode(text=alt.Text("text:N"))


def colour(roles: Mapping[str, Role], legend: alt.Legend | None = None, column: str = "name") -> alt.Color:
    """Colours marks by the role of their name."""
    scale = alt.Scale(domain=list(roles), range=[var(role) for role in roles.values()])
    return alt.Color(f"{column}:N", scale=scale, legend=legend, title=None)


def points(marked: alt.Chart, roles: Mapping[str, Role], legend: alt.Legend | None = None) -> alt.Chart:
    """Draws points in the colour and the shape of their name's role, described by the column "says"."""
    scale = alt.Scale(domain=list(roles), range=[SHAPES[role] for role in roles.values()])
    shape = alt.Shape("name:N", scale=scale, legend=legend, title=None)
    marks: alt.Chart = marked.mark_point()
    return marks.encode(color=colour(roles, legend), shape=shape, description=alt.Description("says:N"))


def zero(ends: Ends, axis: str = "y") -> list[alt.Chart]:
    """A line at zero, if the axis reaches it."""
    return [data([{axis: 0}]).mark_rule().encode(**{axis: f"{axis}:Q"})] if ends[0] <= 0 <= ends[1] else []


def reference(marks: Marks, ends: Ends, width: int) -> list[alt.Chart]:
    """Dashed vertical lines at places of the horizontal axis, with their names above the plot."""
    if not marks:
        return []
    line = data(_above(marks, ends, width)).encode(x=alt.X("x:Q"))
    text = line.mark_text().encode(y=down("y"), text=alt.Text("text:N"))
    return [line.mark_rule(strokeDash=DASHED).properties(name="references"), text.properties(name="notes")]


def reach_above(marks: Marks, ends: Ends, width: int) -> Number:
    """Pixels above the plot that the names of reference lines take."""
    heights: list[Number] = [8 - row["y"] for row in _above(marks, ends, width)]
    return max(heights, default=0)


def _above(marks: Marks, ends: Ends, width: int) -> list[Row]:
    """The height of each reference line's name, so that none overlaps another."""
    rows: list[Row] = []
    taken: list[Number] = []
    for place, name in sorted(marks):
        middle, half = 0.75 * width * (place - ends[0]) / (ends[1] - ends[0]), LETTER * len(name) / 2
        row = next((n for n, end in enumerate(taken) if end + 6 <= middle - half), len(taken))
        taken[row : row + 1] = [middle + half]
        rows.append({"x": place, "y": -8 - LINE * row, "text": name})
    return rows


def texts(rows: Iterable[Row], *, dx: int = 0, **encoded: Any) -> alt.Chart:
    """Draws the column "text" at "y" in pixels; `encoded` places it horizontally."""
    marks: alt.Chart = data(rows).mark_text(align="left", dx=dx)
    return marks.encode(y=down("y"), text=alt.Text("text:N"), **encoded)


def row_labels(rows: Iterable[tuple[str, Number]]) -> alt.Chart:
    """Names of rows at the left of the plot, each at a height in pixels."""
    up = (LINE - 1) / 2  # a label of several lines is placed by its first line
    centred = ({"text": name, "y": y - up * name.count("\n")} for name, y in rows)
    placed = texts(centred, x=alt.XValue(0)).properties(name="labels")
    marks: alt.Chart = placed.mark_text(
        align="right", color=var("ink"), fontSize=12, dx=-8, lineHeight=LINE - 1
    )
    return marks


def cut(content: str, pixels: Number) -> str:
    """The content, cut with an ellipsis where it would take more than that many pixels."""
    letters = max(1, int(pixels / LETTER))
    return content if len(content) <= letters else content[: letters - 1].rstrip() + "…"


def wrapped(content: str, pixels: Number, most: int = 2) -> str:
    """The content in at most so many lines of that many pixels, the last one cut."""
    lines = textwrap.wrap(content, max(8, int(pixels / LETTER)))
    return "\n".join(
        lines if len(lines) <= most else [*lines[: most - 1], cut(" ".join(lines[most - 1 :]), pixels)]
    )


def apart(places: Sequence[Number], least: Number) -> list[Number]:
    """The places, moved up until none is closer than `least` to the one below it; their order stays."""
    moved: dict[int, Number] = {}
    last = -math.inf
    for index in sorted(range(len(places)), key=lambda i: places[i]):
        moved[index] = last = max(places[index], last + least)
    return [moved[index] for index in range(len(places))]
