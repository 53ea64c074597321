"""How much of a dimension each feature has, against sparsity: a dot a feature over regular arrangements."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from interp.render.data import Number
from interp.render.digits import number
from interp.render.svg import (
    LETTER,
    LINE,
    ROOMY,
    Scale,
    bottom_axis,
    empty_svg,
    figure_svg,
    left_axis,
    limits,
    line,
    mark,
    polyline,
    text,
)


@dataclass(frozen=True)
class Sparsity:
    """The features of a model at one place of the axis: each one's dimensionality, and the mean share D*."""

    x: Number
    dimensionality: Sequence[Number]
    dimensions_per_feature: Number


def dimensionalities(
    models: Sequence[Sparsity],
    guides: Mapping[str, Number],
    *,
    x_name: str,
    width: int = 620,
    standalone: bool = False,
) -> str:
    """Dots in a column for each model, a line through D*, and a dashed line for every arrangement.

    Args:
        models: One for each sparsity.
        guides: Name of an arrangement, such as "digon", and the dimensions that each of its corners takes.
        x_name: What the columns stand at.
        width: Pixels.
        standalone: Whether to embed the style sheet.
    """
    models = sorted((m for m in models if math.isfinite(m.x)), key=lambda model: model.x)
    if not models:
        return empty_svg("No models to draw.", width, standalone=standalone)
    roomy = width >= ROOMY
    margin = 16 + LETTER * max((len(name) for name in guides), default=0) if roomy else 14
    left, right, top = 46, width - margin, 58
    bottom = top + (330 if roomy else 260)
    x = Scale(*limits([model.x for model in models], 0.04), left, right)
    y = Scale(0, 1.08, bottom, top)
    parts = [
        left_axis(y, left, "dimensions of a feature", right),
        bottom_axis(x, bottom, x_name, top, 6 if roomy else 4),
    ]
    places = _apart([y(value) for value in guides.values()])
    for (name, value), place in zip(guides.items(), places, strict=True):
        parts.append(line(left, y(value), right, y(value), "bar-line"))
        if roomy:
            parts.append(text(right + 8, place + 4, name, "note"))
    gap = min((b.x - a.x for a, b in pairwise(models)), default=1.0)
    room = 0.6 * (x(models[0].x + gap) - x(models[0].x)) if len(models) > 1 else 30
    for model in models:
        parts += _column(model, x, y, max(4.0, room))
    line_points = [(x(m.x), y(m.dimensions_per_feature)) for m in models]
    parts.append(polyline(line_points, "curve direction-line"))
    parts += [
        mark(px, py, "direction", 3.6, f"D* = {number(m.dimensions_per_feature)}")
        for m, (px, py) in zip(models, line_points, strict=True)
    ]
    parts += [mark(9, 12, "neuron", 3.4, css="faint"), text(17, 16, "a feature's own D", "note")]
    parts += [mark(152, 12, "direction", 3.6), text(161, 16, "D* = m / ||W||²", "note")]
    label = f"Dimensions of a feature against {x_name}. D* goes from " + " to ".join(
        number(model.dimensions_per_feature) for model in (models[0], models[-1])
    )
    return figure_svg(parts, width, bottom + 40, label, standalone=standalone)


def _column(model: Sparsity, x: Scale, y: Scale, room: Number) -> list[Markup]:
    """A model's dots; those at like heights stand side by side."""
    values = sorted(value for value in model.dimensionality if math.isfinite(value))
    beside: dict[int, int] = {}
    parts = []
    for value in values:
        height = round(y(value) / 3)
        place = beside.get(height, 0)
        beside[height] = place + 1
        shift = (1 if place % 2 else -1) * ((place + 1) // 2) * 3.0
        parts.append(
            mark(x(model.x) + math.fmod(shift, room), y(value), "neuron", 2.0, number(value), "faint")
        )
    return parts


def _apart(heights: Sequence[Number]) -> list[Number]:
    """The heights, from top to bottom, pushed apart until a line of text fits between them."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    places: list[Number] = [0.0] * len(heights)
    last = -math.inf
    for index in order:
        last = max(heights[index], last + LINE)
        places[index] = last
    return places
