"""Vectors in a plane, panel by panel: how the features of a model of two dimensions lie."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from interp.render.data import Kind, Number
from interp.render.digits import number
from interp.render.svg import Scale, empty_svg, figure_svg, line, text

WIDEST = 190  # pixels of a panel at most
NARROWEST = 104
HEAD = 24  # pixels above a panel, for its title


@dataclass(frozen=True)
class Panel:
    """Vectors (x, y) under a title; the first is drawn strongest. `note` is a few words below."""

    title: str
    vectors: Sequence[tuple[Number, Number]]
    note: str = ""


def vectors(
    panels: Sequence[Panel],
    *,
    name: str,
    kind: Kind = "direction",
    width: int = 620,
    standalone: bool = False,
) -> str:
    """Small multiples of lines from the origin, all on one scale, over the unit circle.

    Args:
        panels: Drawn from left to right, wrapped where the width ends.
        name: What the vectors are, with their unit.
        kind: Gives the colour.
        width: Pixels.
        standalone: Whether to embed the style sheet.
    """
    if not panels:
        return empty_svg("No vectors to draw.", width, standalone=standalone)
    columns = max(1, min(len(panels), int(width // NARROWEST)))
    columns = math.ceil(len(panels) / math.ceil(len(panels) / columns))
    side = min(WIDEST, width / columns)
    reach = max([1.0, *(abs(end) for p in panels for v in p.vectors for end in v if math.isfinite(end))])
    parts = [text(4, 12, name, "name")]
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        parts += _panel(panel, kind, side * column, 18 + row * (side + HEAD + 18), side, 1.12 * reach)
    rows = math.ceil(len(panels) / columns)
    label = f"{name}. " + "; ".join(
        f"{p.title}: {len(p.vectors)} vectors" + (f", {p.note}" if p.note else "") for p in panels
    )
    return figure_svg(parts, width, 18 + rows * (side + HEAD + 18), label, standalone=standalone)


def _panel(panel: Panel, kind: Kind, left: Number, top: Number, side: Number, reach: Number) -> list[Markup]:
    x = Scale(-reach, reach, left + 4, left + side - 4)
    y = Scale(-reach, reach, top + HEAD + side - 4, top + HEAD + 4)
    radius = x(1) - x(0)
    circle = Markup('<circle cx="{:g}" cy="{:g}" r="{:g}" fill="none" class="grid"/>')
    parts = [
        text(left + side / 2, top + 16, panel.title, "label", "middle"),
        line(x.start, y(0), x.end, y(0), "grid"),
        line(x(0), y.start, x(0), y.end, "grid"),
        circle.format(x(0), y(0), radius),
    ]
    for place, (a, b) in reversed(list(enumerate(panel.vectors))):
        if not (math.isfinite(a) and math.isfinite(b)):
            continue
        strength = 1.0 - 0.6 * place / max(1, len(panel.vectors) - 1)
        says = f"{place + 1}: ({number(a)}, {number(b)}), length {number(math.hypot(a, b))}"
        drawn = (
            '<g opacity="{:.2f}"><line x1="{:g}" y1="{:g}" x2="{:g}" y2="{:g}" class="whisker {}-line"/>'
            '<circle cx="{:g}" cy="{:g}" r="3.6" class="{}"><title>{}</title></circle></g>'
        )
        parts.append(Markup(drawn).format(strength, x(0), y(0), x(a), y(b), kind, x(a), y(b), kind, says))
    parts.append(text(left + side / 2, top + HEAD + side + 9, panel.note, "note", "middle"))
    return parts
