"""One measure of an effect against another, point by point: approximation against exact."""

import math
from collections.abc import Sequence

from interp.render.data import Kind, Number
from interp.render.digits import count, percent
from interp.render.svg import ROOMY, Scale, bottom_axis, empty_svg, figure_svg, left_axis, line, mark, text

MOST = 1500  # points drawn
LARGEST = 500  # of them, those of the largest effects, which are always kept


def scatter(
    points: Sequence[tuple[Number, Number]],
    *,
    kind: Kind,
    x_name: str,
    y_name: str,
    identity: bool = True,
    width: int = 460,
    standalone: bool = False,
    height: int | None = None,
) -> str:
    """A dot per pair over zero lines, on axes that reach as far below zero as above.

    Args:
        points: Pairs, such as (exact effect, approximation); others than finite ones are only counted.
        kind: What the effects are of; gives the colour.
        x_name: The first of a pair with its unit.
        y_name: The second with its unit.
        identity: Whether both have one unit: they then share limits and the line y = x is drawn.
        width: Pixels.
        standalone: Whether to embed the style sheet.
        height: Pixels; None for a square.
    """
    finite = [(a, b) for a, b in points if math.isfinite(a) and math.isfinite(b)]
    if not finite:
        return empty_svg("No pairs to draw.", width, standalone=standalone)
    left, right, top = 58, width - 14, 34
    bottom = top + right - left if height is None else height - 44
    widest = max(abs(a) for a, _ in finite) or 1.0
    tallest = max(abs(b) for _, b in finite) or 1.0
    if identity:
        widest = tallest = max(widest, tallest)
    x = Scale(-1.05 * widest, 1.05 * widest, left, right)
    y = Scale(-1.05 * tallest, 1.05 * tallest, bottom, top)
    ticks = 6 if width >= ROOMY else 4
    parts = [left_axis(y, left, y_name, right, ticks), bottom_axis(x, bottom, x_name, top, ticks)]
    parts.append(line(left, y(0), right, y(0), "axis"))
    parts.append(line(x(0), top, x(0), bottom, "axis"))
    shown = thinned(finite)
    parts += [mark(x(a), y(b), kind, 2.6, css="faint") for a, b in shown]
    if identity:
        parts.append(line(left, bottom, right, top, "bar-line"))
        parts.append(text(right - 4, top + 22, "equal", "note over", "end"))
    many = f"{count(len(finite))} pairs"
    drawn = many if len(shown) == len(finite) else f"{count(len(shown))} of {many} drawn"
    undefined = len(points) - len(finite)
    parts.append(text(left + 6, top + 12, drawn, "note over"))
    if undefined:
        parts.append(text(left + 6, top + 27, f"{count(undefined)} not defined", "note over"))
    agree = sum((a > 0) == (b > 0) and (a < 0) == (b < 0) for a, b in finite) / len(finite)
    label = f"{y_name} against {x_name}: {many}, {percent(agree)} of one sign"
    return figure_svg(parts, width, bottom + 44, label, standalone=standalone)


def thinned(points: Sequence[tuple[Number, Number]], most: int = MOST) -> list[tuple[Number, Number]]:
    """At most `most` of the points, always the same: those of the largest first number, then every n-th."""
    if len(points) <= most:
        return list(points)
    ranked = sorted(points, key=lambda point: -abs(point[0]))
    kept = min(LARGEST, most)
    rest = ranked[kept:]
    room = most - kept
    return ranked[:kept] + [rest[i * len(rest) // room] for i in range(room)]
