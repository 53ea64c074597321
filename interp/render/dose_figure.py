"""Dose and response: what happens to a quantity while a feature is set to one value after another."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from interp.render.data import Estimate, Kind, Number
from interp.render.digits import interval, measured
from interp.render.svg import (
    LETTER,
    LINE,
    ROOMY,
    Scale,
    bottom_axis,
    empty_svg,
    figure_svg,
    fitted,
    left_axis,
    limits,
    line,
    mark,
    polygon,
    polyline,
    rectangle,
    text,
    tick_label,
)

DASHES = ("", "dash-1", "dash-2")  # tell curves of one kind apart
MOST_MARKED = 40  # points of a curve up to which each is marked


@dataclass(frozen=True)
class Curve:
    """Responses at doses, as pairs of dose and response; the doses need not be evenly spaced.

    Curves of one name share a label, such as several random controls. `natural` is the range of doses that
    the feature takes by itself, drawn as a strip under the curves.
    """

    name: str
    kind: Kind
    points: Sequence[tuple[Number, Estimate]]
    natural: tuple[Number, Number] | None = None

    def defined(self) -> list[tuple[Number, Estimate]]:
        """The points by dose, without those whose dose is not finite."""
        return sorted((p for p in self.points if math.isfinite(p[0])), key=lambda point: point[0])

    def ends(self) -> tuple[tuple[Number, Number], tuple[Number, Number]] | None:
        """The first and the last dose that has a response, each with its response."""
        known = [(dose, e.point) for dose, e in self.defined() if e.point is not None]
        return (known[0], known[-1]) if known else None


def dose_response(
    curves: Sequence[Curve],
    *,
    x_name: str,
    y_name: str,
    marks: Sequence[tuple[Number, str]] = (),
    width: int = 620,
    standalone: bool = False,
) -> str:
    """Lines through the responses with their 95% bands; random controls in grey behind the others.

    Args:
        curves: What was set, and the responses.
        x_name: The dose with its unit.
        y_name: The response with its unit.
        marks: Doses worth a dashed line, with what they are ("zero", "mean").
        width: Pixels.
        standalone: Whether to embed the style sheet.
    """
    drawn = sorted((c for c in curves if c.ends()), key=lambda c: c.kind != "random")
    if not drawn:
        return empty_svg("No responses to draw.", width, standalone=standalone)
    styles = _styles([c for c in curves if c.ends()])
    roomy = width >= ROOMY
    margin = min(0.3 * width, 23 + LETTER * max(len(name) for name in styles)) if roomy else 14
    left, right = 54, width - margin
    top = 32 + (0 if roomy else LINE * len(styles))
    lanes = [c for c in drawn if c.natural]
    floor = top + (250 if roomy else 200)
    bottom = floor + LINE * len(lanes)

    doses = [dose for c in drawn for dose, _ in c.defined()] + [dose for dose, _ in marks]
    x = Scale(*limits([*doses, *(end for c in lanes for end in c.natural or ())], 0.03), left, right)
    rows = _rows(marks, x)
    responses = [value for c in drawn for _, e in c.defined() for value in e.reach]
    low, high = limits(responses)
    headroom = LINE * (1 + max(rows)) if rows else 0
    y = Scale(low, low + (high - low) * (floor - top) / (floor - top - headroom), floor, top)

    parts = [left_axis(y, left, y_name, right), bottom_axis(x, bottom, x_name, top, 6 if roomy else 4)]
    if low <= 0 <= high:
        parts.append(line(left, y(0), right, y(0), "axis"))
    for (dose, _), row in zip(marks, rows, strict=True):
        parts.append(line(x(dose), top + LINE * row + 4, x(dose), bottom, "bar-line"))
    for curve in drawn:
        parts += _curve(curve, x, y, styles[curve.name])
    for (dose, says), row in zip(marks, rows, strict=True):
        parts.append(text(_inside(dose, says, x), top + LINE * row + 11, says, "note over", "middle"))
    for index, curve in enumerate(lanes):
        parts += _lane(curve, x, floor + LINE * index, len(lanes) > 1)
    parts += _labels(drawn, styles, y, right + 8, width) if roomy else _key(drawn, styles, width)
    label = f"{y_name} against {x_name}. " + "; ".join(_says(c) for c in drawn if c.kind != "random")
    return figure_svg(parts, width, bottom + 40, label, standalone=standalone)


def _curve(curve: Curve, x: Scale, y: Scale, dash: str) -> list[Markup]:
    points = curve.defined()
    parts = []
    for has_band, run in groupby(points, key=lambda point: point[1].ends is not None):
        if has_band:
            edges = [(dose, e.ends) for dose, e in run if e.ends is not None]
            upper = [(x(dose), y(ends[1])) for dose, ends in edges]
            lower = [(x(dose), y(ends[0])) for dose, ends in reversed(edges)]
            parts.append(polygon(upper + lower, f"{curve.kind} band"))
    for known, run in groupby(points, key=lambda point: point[1].point is not None):
        if known:
            pixels = [(x(dose), y(e.point)) for dose, e in run if e.point is not None]
            behind = "behind" if curve.kind == "random" else ""
            parts.append(polyline(pixels, f"curve {curve.kind}-line {dash} {behind}"))
    if len(points) <= MOST_MARKED:
        size = 2.2 if curve.kind == "random" else 3.4
        for dose, e in points:
            if e.point is not None:
                says = f"{curve.name} at {tick_label(dose)}: {measured(e)}"
                says += f" ({interval(e)})" if interval(e) else ""
                parts.append(mark(x(dose), y(e.point), curve.kind, size, says))
    return parts


def _lane(curve: Curve, x: Scale, top: Number, named: bool) -> list[Markup]:
    """The natural range of a curve as a strip, with its name on the side that has room, or else across it."""
    low, high = sorted(curve.natural or (0.0, 0.0))
    says = "natural range" + (f": {curve.name}" if named else "")
    before, after = x(low) - x.start, x.end - x(high)
    place, anchor = (x(high) + 6, "start") if after >= before else (x(low) - 6, "end")
    if max(before, after) < 8 + LETTER * len(says):
        says = fitted(says, x.end - x.start)
        place, anchor = _inside((low + high) / 2, says, x), "middle"
    title = f"{curve.name}: natural range {tick_label(low)} to {tick_label(high)}"
    return [
        rectangle(x(low), top + 5, max(2.0, x(high) - x(low)), 6, f"{curve.kind} faint", title),
        text(place, top + 12, says, "note over", anchor),
    ]


def _labels(
    curves: Sequence[Curve], styles: Mapping[str, str], y: Scale, left: Number, width: int
) -> list[Markup]:
    """Names at the ends of the lines, pushed apart until they do not cover one another."""
    by_name: dict[str, list[Curve]] = {name: [c for c in curves if c.name == name] for name in styles}
    ends = {name: [y(c_ends[1][1]) for c in group if (c_ends := c.ends())] for name, group in by_name.items()}
    wanted = sorted((sum(heights) / len(heights), name) for name, heights in ends.items())
    places: list[Number] = []
    for height, _ in wanted:
        places.append(max(height, places[-1] + LINE) if places else height)
    overflow = max(0.0, places[-1] - y.start)
    parts = []
    for (_, name), place in zip(wanted, [place - overflow for place in places], strict=True):
        parts.append(mark(left + 4, place, by_name[name][0].kind, 3.4))
        parts.append(text(left + 13, place + 4, fitted(name, width - left - 13), "note"))
    return parts


def _key(curves: Sequence[Curve], styles: Mapping[str, str], width: int) -> list[Markup]:
    """Names above the figure, a line each."""
    kinds = {c.name: c.kind for c in curves}
    parts = []
    for row, (name, dash) in enumerate(styles.items()):
        height = 9 + LINE * row
        parts.append(polyline([(4, height), (30, height)], f"curve {kinds[name]}-line {dash}"))
        parts.append(mark(17, height, kinds[name], 3.4))
        parts.append(text(36, height + 4, fitted(name, width - 44), "note"))
    return parts


def _styles(curves: Sequence[Curve]) -> dict[str, str]:
    """For every name in order, the dashes of its lines: curves of one kind differ."""
    kinds = {c.name: c.kind for c in curves}
    seen: dict[Kind, int] = {}
    styles = {}
    for name, kind in kinds.items():
        styles[name] = DASHES[seen.get(kind, 0) % len(DASHES)]
        seen[kind] = seen.get(kind, 0) + 1
    return styles


def _rows(marks: Sequence[tuple[Number, str]], x: Scale) -> list[int]:
    """For every mark, the line of text on which its label covers no other."""
    ends: list[Number] = []
    rows = [0] * len(marks)
    for index in sorted(range(len(marks)), key=lambda i: marks[i][0]):
        dose, says = marks[index]
        half = LETTER * len(says) / 2
        start = _inside(dose, says, x) - half
        row = next((i for i, end in enumerate(ends) if end + 6 <= start), len(ends))
        ends[row : row + 1] = [start + 2 * half]
        rows[index] = row
    return rows


def _inside(dose: Number, says: str, x: Scale) -> Number:
    """The middle of a label that stands at a dose and stays between the ends of the axis."""
    half = min(LETTER * len(says) / 2, (x.end - x.start) / 2)
    return min(x.end - half, max(x.start + half, x(dose)))


def _says(curve: Curve) -> str:
    ends = curve.ends()
    if ends is None:
        return curve.name
    (first, before), (last, after) = ends
    return f"{curve.name}: {before:.3g} at {first:g}, {after:.3g} at {last:g}"
