"""Which features share dimensions: their dot products as a heat map, and their lengths as bars beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from interp.render.data import Number
from interp.render.digits import number
from interp.render.palette import HEAT_LEVELS
from interp.render.svg import empty_svg, figure_svg, text

NARROWEST = 168  # pixels of a panel
HEAD, GAP = 22, 20
BARS = 0.3  # share of a panel's width that the bars take
FAINT = 0.04  # dot products below this share of full heat are left blank


@dataclass(frozen=True)
class GramPanel:
    """Dot products [feature][feature] of some vectors, their lengths, and how much is superposed on each."""

    title: str
    products: Sequence[Sequence[Number]]
    lengths: Sequence[Number]
    superposition: Sequence[Number]


def grams(panels: Sequence[GramPanel], *, name: str, width: int = 760, standalone: bool = False) -> str:
    """Heat maps on one scale from -1 to 1, with a bar a feature, hotter the more others lie on its direction.

    Args:
        panels: Drawn from left to right, wrapped where the width ends.
        name: What the vectors are.
        width: Pixels.
        standalone: Whether to embed the style sheet.
    """
    panels = [panel for panel in panels if panel.lengths]
    if not panels:
        return empty_svg("No vectors to draw.", width, standalone=standalone)
    columns = max(1, min(len(panels), int(width // NARROWEST)))
    columns = math.ceil(len(panels) / math.ceil(len(panels) / columns))
    span = width / columns
    side = (span - GAP) * (1 - BARS)
    longest = max(1.0, *(length for panel in panels for length in panel.lengths))
    parts = [text(4, 12, name, "name"), *_legend(width)]
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        left, top = 4 + span * column, 44 + row * (side + HEAD + GAP)
        parts.append(text(left, top + 14, panel.title, "label"))
        parts += _heat_map(panel, left, top + HEAD, side)
        parts += _bars(panel, left + side + 5, top + HEAD, side, (span - GAP) * BARS - 5, longest)
    rows = math.ceil(len(panels) / columns)
    label = f"{name}. " + "; ".join(
        f"{p.title}: {sum(length >= 0.5 for length in p.lengths)} of {len(p.lengths)} longer than 0.5"
        for p in panels
    )
    return figure_svg(parts, width, 44 + rows * (side + HEAD + GAP), label, standalone=standalone)


def _heat_map(panel: GramPanel, left: Number, top: Number, side: Number) -> list[Markup]:
    cell = side / len(panel.products)
    parts = [
        Markup('<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" fill="none" class="grid"/>').format(
            left, top, side, side
        )
    ]
    for row, products in enumerate(panel.products):
        for column, value in enumerate(products):
            if abs(value) > FAINT:
                says = f"{row + 1} · {column + 1} = {number(value)}"
                parts.append(_cell(left + cell * column, top + cell * row, cell, cell, value, says))
    return parts


def _bars(
    panel: GramPanel, left: Number, top: Number, height: Number, width: Number, longest: Number
) -> list[Markup]:
    step = height / len(panel.lengths)
    parts = []
    for row, (length, shared) in enumerate(zip(panel.lengths, panel.superposition, strict=True)):
        says = f"{row + 1}: length {number(length)}, superposition {number(shared)}"
        at = top + step * row + 0.1 * step
        parts.append(_cell(left, at, width * length / longest, 0.8 * step, max(shared, 1e-6), says))
    return parts


def _legend(width: int) -> list[Markup]:
    """The scale of the heat, from -1 to 1."""
    size = 9
    left = 34
    steps = 2 * HEAT_LEVELS
    parts = [text(left - 5, 33, "−1", "tick", "end"), text(left + steps * size + 5, 33, "1", "tick")]
    parts += [_cell(left + size * i, 24, size, size, (i + 0.5) / HEAT_LEVELS - 1, "") for i in range(steps)]
    says = "bars: length; hotter: more superposition" if width >= 420 else "bars: length"
    parts.append(text(left + steps * size + 22, 33, says, "note"))
    return parts


def _cell(x: Number, y: Number, width: Number, height: Number, value: Number, says: str) -> Markup:
    level = max(1, min(HEAT_LEVELS, math.ceil(abs(value) * HEAT_LEVELS - 1e-9)))
    colour = f"{'p' if value > 0 else 'n'}{level}"
    title = Markup("<title>{}</title>").format(says) if says else Markup()
    return Markup(
        '<rect x="{:.5g}" y="{:.5g}" width="{:.4g}" height="{:.4g}" style="fill:var(--{})">{}</rect>'
    ).format(x, y, width, height, colour, title)
