"""Charts of how features share dimensions: arrows in a plane, dot products, shares of a dimension."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import altair as alt

from interp.render.charts.heat import heat_key, rectangles
from interp.render.charts.parts import (
    DASHED,
    LETTER,
    LINE,
    RIGHT,
    ROOMY,
    Row,
    across,
    apart,
    data,
    framed,
    limits,
    linear_scale,
    nothing,
    placed,
    words,
)
from interp.render.digits import number
from interp.render.figure import Draw
from interp.render.theme import SHAPES, var
from interp.statistics.estimate import Number

NARROWEST_PLANE, WIDEST_PLANE = 104, 190.0  # pixels of a panel
NARROWEST_GRAM = 168
HEAD = 24  # pixels above a panel, for its title
BARS = 0.3  # share of a panel's width that the bars take
FAINT = 0.04  # dot products below this share of full heat are left blank


@dataclass(frozen=True)
class Plane:
    """Vectors (x, y) under a title; the first is drawn darkest. `note` is a short line below."""

    title: str
    vectors: Sequence[tuple[Number, Number]]
    note: str = ""


@dataclass(frozen=True)
class Gram:
    """Dot products [feature][feature] of vectors, their lengths, and the superposition on each."""

    title: str
    products: Sequence[Sequence[Number]]
    lengths: Sequence[Number]
    superposition: Sequence[Number]


@dataclass(frozen=True)
class Shares:
    """A model's features at one x value: the dimensionality of each, and the mean share D*."""

    x: Number
    dimensionality: Sequence[Number]
    dimensions_per_feature: Number


def plane_chart(planes: Sequence[Plane], *, name: str) -> Draw:
    """Draws small multiples of lines from the origin over the unit circle, all on one scale."""
    if not planes:
        return nothing("No vectors to draw.")
    reach = 1.12 * max([1.0, *(abs(e) for p in planes for v in p.vectors for e in v if math.isfinite(e))])
    says = f"{name}. " + "; ".join(
        f"{p.title}: {len(p.vectors)} vectors" + (f", {p.note}" if p.note else "") for p in planes
    )

    def draw(width: int) -> alt.TopLevelMixin:
        columns = _columns(len(planes), width, NARROWEST_PLANE)
        side = min(WIDEST_PLANE, width / columns - 6)
        unit = (side / 2 - 4) / reach
        lines: list[Row] = []
        axes: list[Row] = []
        circles: list[Row] = []
        texts: list[Row] = []
        for place, plane in enumerate(planes):
            row, column = divmod(place, columns)
            x, y = side * (column + 0.5), row * (side + HEAD + 18) + HEAD + side / 2
            texts.append({"x": x, "y": y - side / 2 - 10, "text": plane.title})
            texts.append({"x": x, "y": y + side / 2 + 8, "text": plane.note})
            axes.append({"x": x - side / 2 + 4, "right": x + side / 2 - 4, "y": y, "bottom": y})
            axes.append({"x": x, "right": x, "y": y - side / 2 + 4, "bottom": y + side / 2 - 4})
            circles.append({"x": x, "y": y})
            for n, (a, b) in reversed(list(enumerate(plane.vectors))):
                if math.isfinite(a) and math.isfinite(b):
                    one = f"{n + 1}: ({number(a)}, {number(b)}), length {number(math.hypot(a, b))}"
                    end = {"right": x + unit * a, "bottom": y - unit * b, "says": one}
                    strength = 1.0 - 0.6 * n / max(1, len(plane.vectors) - 1)
                    lines.append({"x": x, "y": y, "strength": strength} | end)
        ends = {"x2": alt.X2("right:Q"), "y2": alt.Y2("bottom:Q")}
        opacity = alt.Opacity("strength:Q", scale=None, legend=None)
        tips = placed({**line, "x": line["right"], "y": line["bottom"]} for line in lines)
        layers = [
            placed(axes).mark_rule(color=var("line")).encode(**ends),
            placed(circles).mark_point(
                filled=False, size=math.pi * unit**2, stroke=var("line"), strokeWidth=1, shape="circle"
            ),
            placed(lines)
            .mark_rule(color=var("c"), strokeWidth=2)
            .encode(opacity=opacity, **ends)
            .properties(name="vectors"),
            tips.mark_point(color=var("c"), shape="circle").encode(
                opacity=opacity, description=alt.Description("says:N")
            ),
            words(texts),
        ]
        rows = math.ceil(len(planes) / columns)
        return framed(layers, width, rows * (side + HEAD + 18), says, name)

    return draw


def gram_chart(grams: Sequence[Gram], *, name: str) -> Draw:
    """Draws heat maps from -1 to 1, with a bar for each feature, hotter with more superposition."""
    grams = [gram for gram in grams if gram.lengths]
    if not grams:
        return nothing("No vectors to draw.")
    longest = max(1.0, *(length for gram in grams for length in gram.lengths))
    says = f"{name}. " + "; ".join(
        f"{g.title}: {sum(length >= 0.5 for length in g.lengths)} of {len(g.lengths)} longer than 0.5"
        for g in grams
    )

    def draw(width: int) -> alt.TopLevelMixin:
        columns = _columns(len(grams), width, NARROWEST_GRAM)
        span = (width - 10) / columns
        side, bars = (span - 20) * (1 - BARS), (span - 20) * BARS - 5
        cells: list[Row] = []
        boxes: list[Row] = []
        titles: list[Row] = []
        for place, gram in enumerate(grams):
            row, column = divmod(place, columns)
            left, top = span * column, row * (side + HEAD + 20) + HEAD
            titles.append({"x": left, "y": top - 10, "text": gram.title})
            boxes.append({"x": left, "right": left + side, "y": top, "bottom": top + side})
            step = side / len(gram.lengths)
            for r, products in enumerate(gram.products):
                for c, value in enumerate(products):
                    if abs(value) > FAINT:
                        one = f"{r + 1} · {c + 1} = {number(value)}"
                        cells.append(_box(left + step * c, top + step * r, step, step, value, one))
            for r, (length, shared) in enumerate(zip(gram.lengths, gram.superposition, strict=True)):
                one = f"{r + 1}: length {number(length)}, superposition {number(shared)}"
                heat = min(1.0, max(shared, 0.07))
                at = left + side + 5, top + step * (r + 0.1)
                cells.append(_box(*at, bars * length / longest, 0.8 * step, heat, one))
        outline = placed(boxes).mark_rect(fillOpacity=0, stroke=var("line"))
        what = "bars: length; hotter: more superposition" if width >= 420 else "bars: length"
        layers = [
            outline.encode(x2=alt.X2("right:Q"), y2=alt.Y2("bottom:Q")),
            rectangles(cells, 1.0, True).properties(name="cells"),
            words(titles, align="left"),
            *heat_key(1.0, True, -12, what),
        ]
        rows = math.ceil(len(grams) / columns)
        return framed(layers, width, rows * (side + HEAD + 20), says, name)

    return draw


def share_chart(models: Sequence[Shares], guides: Mapping[str, Number], *, x_name: str) -> Draw:
    """Draws a column of dots for each model, a line through D*, and a dashed line for every arrangement.

    `guides` maps names of arrangements, such as "digon", to the dimensions that each corner takes.
    """
    models = sorted((model for model in models if math.isfinite(model.x)), key=lambda model: model.x)
    if not models:
        return nothing("No models to draw.")
    x_ends = limits([model.x for model in models], 0.04)
    gap = min((b.x - a.x for a, b in pairwise(models)), default=x_ends[1] - x_ends[0])
    mean = [{"x": m.x, "y": m.dimensions_per_feature, "says": f"D* = {number(m.dimensions_per_feature)}"}
            for m in models]  # fmt: skip
    first, last = (number(model.dimensions_per_feature) for model in (models[0], models[-1]))
    says = f"Dimensions of a feature against {x_name}. D* goes from {first} to {last}"

    def draw(width: int) -> alt.TopLevelMixin:
        roomy = width >= ROOMY
        height = 330 if roomy else 260
        pixel = (x_ends[1] - x_ends[0]) / (width - 60 - (80 if roomy else 0))
        dots = [dot for model in models for dot in _column(model, pixel, gap, height)]
        x = across(x_name, x_ends, width)
        y = alt.Y("y:Q", title=None, scale=linear_scale((0, 1.08)), axis=alt.Axis(tickCount=5))
        shares = data(mean).encode(x=x, y=y, description=alt.Description("says:N"))
        named = apart([-value for value in guides.values()], LINE * 1.08 / height)
        names = [{"y": -place, "text": name} for name, place in zip(guides, named, strict=True)]
        lines = data({"y": value} for value in guides.values())
        layers = [
            lines.mark_rule(strokeDash=DASHED).encode(y=alt.Y("y:Q")).properties(name="references"),
            data(names if roomy else ()).mark_text(align="left", dx=8).encode(
                x=RIGHT, y=alt.Y("y:Q"), text=alt.Text("text:N")),
            data(dots).mark_point(color=var("a"), shape=SHAPES["a"], size=13, opacity=0.38).encode(
                x=x, y=y, description=alt.Description("says:N")).properties(name="dots"),
            shares.mark_line(color=var("c")).properties(name="curves"),
            shares.mark_point(color=var("c"), shape=SHAPES["c"]),
            *_key(),
        ]  # fmt: skip
        return framed(layers, width, height, says, "dimensions of a feature")

    return draw


def _column(model: Shares, pixel: Number, gap: Number, height: int) -> list[Row]:
    """Places a model's dots; those at similar heights are side by side."""
    beside: dict[int, int] = {}
    rows: list[Row] = []
    for value in sorted(value for value in model.dimensionality if math.isfinite(value)):
        level = round(value * height / 1.08 / 3)
        place = beside[level] = beside.get(level, -1) + 1
        shift = (1 if place % 2 else -1) * ((place + 1) // 2) * 3.0 * pixel
        rows.append({"x": model.x + math.fmod(shift, 0.6 * gap), "y": value, "says": number(value)})
    return rows


def _key() -> list[alt.Chart]:
    """Draws the key of the marks above the plot."""
    own, shared = "a feature's own D", "D* = m / ||W||²"
    second = 30 + LETTER * len(own)
    texts = [{"x": 14, "y": -10, "text": own}, {"x": second + 9, "y": -10, "text": shared}]
    return [
        placed([{"x": 5, "y": -10}]).mark_point(color=var("a"), shape=SHAPES["a"], opacity=0.38),
        placed([{"x": second, "y": -10}]).mark_point(color=var("c"), shape=SHAPES["c"]),
        words(texts, align="left"),
    ]


def _box(x: Number, y: Number, width: Number, height: Number, value: Number, says: str) -> Row:
    return {"x": x, "y": y, "right": x + width, "bottom": y + height, "value": value, "says": says}


def _columns(panels: int, width: int, narrowest: int) -> int:
    """Returns the number of panels in a row, so that rows are equally long."""
    fitting = max(1, min(panels, width // narrowest))
    return math.ceil(panels / math.ceil(panels / fitting))
