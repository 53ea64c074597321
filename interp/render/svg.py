"""Axes, marks and text of the figures, as inline SVG that takes its colours from the page's variables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from markupsafe import Markup

from interp.render.characters import permitted, shortened
from interp.render.data import KINDS, Estimate, Kind, Number
from interp.render.palette import css_variables

ROOMY = 500  # pixels from which there is room for whole phrases
LETTER = 6.6  # pixels that a letter of a label takes on average
LINE = 15  # pixels from one line of small text to the next
NEAR_ZERO = 0.5  # zero is shown if it is no further from the values than this share of their span


@dataclass(frozen=True)
class Scale:
    """A linear map from a quantity to pixels."""

    low: Number
    high: Number
    start: Number
    end: Number

    def __call__(self, value: Number) -> Number:
        """Pixels of a value; a value outside the scale stays at its edge."""
        if self.high <= self.low:
            return self.start
        share = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, about: int = 5) -> list[Number]:
        """Round numbers inside the scale, `about` that many."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next((m * power for m in (1, 2, 2.5, 5) if m * power >= rough * 0.999), 10 * power)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def limits(values: Iterable[Number], room: Number = 0.05) -> tuple[Number, Number]:
    """Ends of an axis that shows all finite values: a margin on both sides, and zero if it is near."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    near = NEAR_ZERO * (high - low)
    low, high = (0.0 if 0 < low <= near else low), (0.0 if -near <= high < 0 else high)
    margin = room * (high - low or abs(high) or 1.0)
    return low - margin, high + margin


def tick_label(value: Number) -> str:
    """A tick as short text: 20k, 0.5, −1."""
    if abs(value) >= 1e6:
        text = f"{value / 1e6:g}M"
    elif abs(value) >= 1e4:
        text = f"{value / 1e3:g}k"
    else:
        text = f"{value:g}"
    return text.replace("-", "−")


def text(x: Number, y: Number, content: str, css: str = "", anchor: str = "start") -> Markup:
    """A line of text; `css` is a class such as "tick" or "name"."""
    return Markup('<text x="{:g}" y="{:g}" class="{}" text-anchor="{}">{}</text>').format(
        x, y, css, anchor, shortened(content)
    )


def fitted(content: str, pixels: Number) -> str:
    """The content, cut with an ellipsis where it would take more than that many pixels."""
    letters = max(1, int(pixels / LETTER))
    return content if len(content) <= letters else content[: letters - 1].rstrip() + "…"


def line(x1: Number, y1: Number, x2: Number, y2: Number, css: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{:g}" y1="{:g}" x2="{:g}" y2="{:g}" class="{}"/>').format(x1, y1, x2, y2, css)


def rectangle(x: Number, y: Number, width: Number, height: Number, css: str, title: str = "") -> Markup:
    """A filled rectangle, with a title on hover."""
    return Markup('<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" class="{}">{}</rect>').format(
        x, y, max(0.0, width), max(0.0, height), css, _title(title)
    )


def mark(x: Number, y: Number, kind: str, size: Number = 4, title: str = "", css: str = "") -> Markup:
    """A point in the colour and the shape of its kind.

    Neurons are round, latents square on end, directions triangles and others a bar.
    """
    if kind == "neuron":
        shape = Markup('<circle cx="{:g}" cy="{:g}" r="{:g}" class="{} {}">{}</circle>')
        return shape.format(x, y, size, kind, css, _title(title))
    if kind == "latent":
        r = size * 1.2
        return polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], f"{kind} {css}", title)
    if kind == "direction":
        r = size * 1.2
        return polygon([(x, y - r), (x + r, y + r * 0.8), (x - r, y + r * 0.8)], f"{kind} {css}", title)
    return Markup('<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" class="{} {}">{}</rect>').format(
        x - size * 0.35, y - size, size * 0.7, size * 2, kind, css, _title(title)
    )


def whisker(estimate: Estimate, scale: Scale, y: Number, kind: str) -> Markup:
    """The interval of an estimate as a horizontal line; nothing where it has none."""
    if estimate.ends is None:
        return Markup()
    low, high = estimate.ends
    return line(scale(low), y, scale(high), y, f"whisker {kind}-line")


def key(names: Mapping[Kind, str], left: Number, right: Number) -> tuple[Markup, Number]:
    """What each mark stands for, in lines at the top of a figure, and the pixels below its first line."""
    parts: list[Markup] = []
    x, y = left, 10
    for kind in (kind for kind in KINDS if kind in names):
        if x > left and x + 13 + LETTER * len(names[kind]) > right:
            x, y = left, y + LINE
        parts += [mark(x + 4, y, kind, 4), text(x + 13, y + 4, names[kind], "note")]
        x += 26 + 7 * len(names[kind])
    return Markup().join(parts), y - 10


def bottom_axis(scale: Scale, y: Number, name: str, top: Number, about: int = 5) -> Markup:
    """Horizontal axis at `y` with its name and unit below and faint grid lines up to `top`."""
    parts = [line(scale.start, y, scale.end, y, "axis")]
    for value in scale.ticks(about):
        parts.append(line(scale(value), top, scale(value), y, "grid"))
        parts.append(text(scale(value), y + 15, tick_label(value), "tick", "middle"))
    parts.append(text((scale.start + scale.end) / 2, y + 33, name, "name", "middle"))
    return Markup().join(parts)


def left_axis(scale: Scale, x: Number, name: str, right: Number, about: int = 4) -> Markup:
    """Vertical axis at `x`; its name stands above it, so that nobody has to tilt their head."""
    parts = [text(4, scale.end - 9, name, "name")]
    for value in scale.ticks(about):
        parts.append(line(x, scale(value), right, scale(value), "grid"))
        parts.append(text(x - 6, scale(value) + 4, tick_label(value), "tick", "end"))
    return Markup().join(parts)


def polyline(points: Iterable[tuple[Number, Number]], css: str) -> Markup:
    """A line through points given in pixels."""
    return Markup('<polyline points="{}" class="{}"/>').format(_points(points), css)


def polygon(points: Iterable[tuple[Number, Number]], css: str, title: str = "") -> Markup:
    """A filled area with corners given in pixels, with a title on hover."""
    return Markup('<polygon points="{}" class="{}">{}</polygon>').format(_points(points), css, _title(title))


def figure_svg(
    parts: Sequence[Markup], width: Number, height: Number, label: str, *, standalone: bool = False
) -> str:
    """The parts as one SVG element; with `standalone`, a file that carries its own colours.

    Args:
        parts: Drawn back to front.
        width: Pixels at full size; the figure shrinks with its column.
        height: Pixels.
        label: What is seen, for those who cannot see it.
        standalone: Whether to embed the style sheet and the namespace.
    """
    style = Markup()
    namespace = Markup()
    if standalone:
        style = Markup("<style>{}{}svg{{background:var(--paper)}}</style>").format(
            Markup(css_variables()), Markup(figure_css())
        )
        namespace = Markup(' xmlns="http://www.w3.org/2000/svg"')
    drawing = str(
        Markup(
            '<svg{} class="figure" viewBox="0 0 {:g} {:g}" width="{:g}" height="{:g}" role="img" '
            'aria-label="{}">{}{}</svg>'
        ).format(namespace, width, height, width, height, label, style, Markup().join(parts))
    )
    return permitted(drawing)


def empty_svg(says: str, width: Number, *, standalone: bool = False) -> str:
    """A figure that has nothing to draw, and says so."""
    return figure_svg([text(14, 30, says, "name")], width, 48, says, standalone=standalone)


@cache
def figure_css() -> str:
    """The style sheet of the figures; needs the variables of the palette."""
    return (files("interp.render") / "templates" / "figures.css").read_text(encoding="utf-8")


def _points(points: Iterable[tuple[Number, Number]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _title(content: str) -> Markup:
    return Markup("<title>{}</title>").format(shortened(content)) if content else Markup()
