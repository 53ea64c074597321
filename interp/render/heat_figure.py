"""A grid of cells with background heat: layers against tokens, or layers against layers."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from interp.render.data import Number
from interp.render.digits import significant
from interp.render.palette import HEAT_LEVELS
from interp.render.svg import LETTER, empty_svg, figure_svg, fitted, text
from interp.render.tokens import HeatScale

CELL = 20  # pixels of a row
NARROWEST, WIDEST = 22, 96  # pixels of a column
SMALLEST_TEXT = 34  # pixels of a column from which its cells are written in
SLANTED = 40  # pixels of a column below which its head is turned


@dataclass(frozen=True)
class Heat:
    """Cells [row][column], the first row at the top. `texts` are written into them where there is room.

    The heat goes to `top`; with `signed` to -`top` as well. `marked` cells (row, column) get a frame.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[Number]]
    top: Number = 1.0
    signed: bool = False
    texts: Sequence[Sequence[str]] | None = None
    marked: Sequence[tuple[int, int]] = ()


def heat_grid(
    heat: Heat, *, x_name: str, y_name: str, value_name: str, width: int = 620, standalone: bool = False
) -> str:
    """The grid with its scale; every cell says its row, column and value on hover.

    Args:
        heat: The cells.
        x_name: What the columns are.
        y_name: What the rows are.
        value_name: What the heat shows, with its unit.
        width: Pixels; columns that do not fit are left out, and counted.
        standalone: Whether to embed the style sheet.
    """
    if not heat.rows or not heat.columns:
        return empty_svg("No cells to draw.", width, standalone=standalone)
    left = 12 + LETTER * max(len(row) for row in heat.rows)
    fitting = max(1, int((width - left - 4) // NARROWEST))
    shown = min(len(heat.columns), fitting)
    cell = min(WIDEST, (width - left - 4) / shown)
    slanted = cell < SLANTED and max(map(len, heat.columns)) * LETTER > cell
    head = 40 + (LETTER * min(9, max(map(len, heat.columns))) if slanted else 14)
    scale = HeatScale(heat.top, heat.signed)
    parts = [text(4, 12, f"{y_name} against {x_name}: {value_name}", "name"), *_legend(scale, width)]
    for column, name in enumerate(heat.columns[:shown]):
        parts.append(_head(left + cell * (column + 0.5), head - 6, name, cell, slanted))
    for row, name in enumerate(heat.rows):
        y = head + CELL * row
        parts.append(text(left - 6, y + 14, name, "tick", "end"))
        for column in range(shown):
            parts.append(_cell(heat, scale, row, column, left + cell * column, y, cell))
    height = head + CELL * len(heat.rows) + 8
    if shown < len(heat.columns):
        parts.append(text(left, height + 10, f"and {len(heat.columns) - shown} more columns", "note"))
        height += 18
    label = f"{value_name}, {y_name} against {x_name}: {len(heat.rows)} by {len(heat.columns)} cells"
    return figure_svg(parts, width, height, label, standalone=standalone)


def _cell(heat: Heat, scale: HeatScale, row: int, column: int, x: Number, y: Number, width: Number) -> Markup:
    value = heat.values[row][column]
    level = scale.level(value)
    fill = f"var(--{'p' if level > 0 else 'n'}{abs(level)})" if level else "none"
    written = heat.texts[row][column] if heat.texts is not None else ""
    says = f"{heat.rows[row]}, {heat.columns[column]}: {written} {significant(value)}".replace("  ", " ")
    frame = ' stroke="var(--ink)" stroke-width="1.5"' if (row, column) in heat.marked else ""
    drawn = Markup(
        '<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" style="fill:{}"{}><title>{}</title></rect>'
    ).format(round(x + 0.5, 1), y + 0.5, round(width - 1, 1), CELL - 1, fill, Markup(frame), says)
    if written and width >= SMALLEST_TEXT:
        drawn += text(x + width / 2, y + 14, fitted(written, width - 4), "cell", "middle")
    return drawn


def _head(x: Number, y: Number, name: str, cell: Number, slanted: bool) -> Markup:
    if not slanted:
        return text(x, y, fitted(name, cell - 2), "tick", "middle")
    return Markup('<g transform="translate({:g},{:g}) rotate(-60)">{}</g>').format(
        round(x, 1), y, text(0, 0, fitted(name, 9 * LETTER), "tick")
    )


def _legend(scale: HeatScale, width: int) -> list[Markup]:
    """The colours between the numbers they stand for, at the right of a line of their own."""
    levels = [*range(-HEAT_LEVELS, 0, 2)] if scale.signed else []
    levels += [*range(2, HEAT_LEVELS + 1, 2)]
    size, y = 12, 18
    left = 40
    low = significant(-scale.top if scale.signed else 0.0, 2)
    parts = [text(left - 5, y + 9, low, "tick", "end")]
    for place, level in enumerate(levels):
        colour = f"var(--{'p' if level > 0 else 'n'}{abs(level)})"
        parts.append(
            Markup('<rect x="{:g}" y="{:g}" width="{:g}" height="9" style="fill:{}"/>').format(
                left + size * place, y, size, colour
            )
        )
    parts.append(text(left + size * len(levels) + 5, y + 9, significant(scale.top, 2), "tick"))
    return parts
