"""A grid of cells with background heat: layers against tokens, or layers against layers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import altair as alt

from interp.render.charts.parts import LETTER, Row, cut, framed, nothing, placed, words
from interp.render.digits import significant
from interp.render.figure import Draw
from interp.render.palette import HEAT_LEVELS
from interp.render.theme import var
from interp.statistics.estimate import Number

CELL = 20  # pixels of a row
NARROWEST, WIDEST = 22, 96.0  # pixels of a column
SMALLEST_TEXT = 34  # pixels of a column from which its cells are written in
SLANTED = 40  # pixels of a column below which its head is slanted


@dataclass(frozen=True)
class Heat:
    """Cells [row][column], the first row at the top. `texts` are written into them where there is room.

    The colour scale ends at `top`, with `signed` at -`top` as well. `marked` cells (row, column) get a frame.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[Number]]
    top: Number = 1.0
    signed: bool = False
    texts: Sequence[Sequence[str]] | None = None
    marked: Sequence[tuple[int, int]] = ()


def heat_chart(heat: Heat, *, x_name: str, y_name: str, value_name: str) -> Draw:
    """The grid with its scale; every cell says its row, column and value on hover.

    Args:
        heat: The cells; columns that a width has no room for are left out, and counted.
        x_name: What the columns are.
        y_name: What the rows are.
        value_name: What the heat shows, with its unit.
    """
    if not heat.rows or not heat.columns:
        return nothing("No cells to draw.")
    left = 20 + LETTER * max(map(len, heat.rows))
    says = f"{value_name}, {y_name} against {x_name}: {len(heat.rows)} by {len(heat.columns)} cells"

    def draw(width: int) -> alt.TopLevelMixin:
        shown = heat.columns[: max(1, int((width - left) // NARROWEST))]
        cell = min(WIDEST, (width - left) / len(shown))
        slanted = cell < SLANTED and max(map(len, shown)) * LETTER > cell
        head = 9 * LETTER if slanted else 14
        cells = [_cell(heat, r, c, cell) for r in range(len(heat.rows)) for c in range(len(shown))]
        texts = [
            {"x": cell * (c + 0.5), "y": CELL * (r + 0.5), "text": cut(text, cell - 4)}
            for r, row in enumerate(heat.texts or ())
            for c, text in enumerate(row[: len(shown)])
        ]
        room = head if slanted else cell - 2
        heads = [{"x": cell * (c + 0.5), "y": 0, "text": cut(name, room)} for c, name in enumerate(shown)]
        names = [{"x": 0, "y": CELL * (r + 0.5), "text": name} for r, name in enumerate(heat.rows)]
        grid = rectangles(cells, heat.top, heat.signed)
        framed_cells = rectangles([row for row in cells if row["marked"]], heat.top, heat.signed)
        placing = {"angle": 300, "align": "left", "dx": 6} if slanted else {"dy": -9}
        layers = [
            grid.properties(name="cells"),
            framed_cells.mark_rect(stroke=var("ink"), strokeWidth=1.5).properties(name="marked"),
            words(texts if cell >= SMALLEST_TEXT else (), color=var("ink"), fontSize=10.5),
            words(heads, fontSize=11, **placing),
            words(names, fontSize=11, align="right", dx=-6),
            *heat_key(heat.top, heat.signed, -head - 18),
        ]
        left_out = len(heat.columns) - len(shown)
        more = f", and {left_out} more {'column' if left_out == 1 else 'columns'}" if left_out else ""
        title = f"{y_name} against {x_name}: {value_name}{more}"
        return framed(layers, width, CELL * len(heat.rows), says, title)

    return draw


def rectangles(rows: Iterable[Row], top: Number, signed: bool) -> alt.Chart:
    """Cells from ("x", "y") to ("right", "bottom") in pixels, coloured by "value", with "says" on hover.

    The colour is full at `top`, and with `signed` at -`top`; there is none around zero.
    """
    half = top / HEAT_LEVELS / 2 or 1.0
    levels = [*([f"n{level}" for level in range(HEAT_LEVELS, 0, -1)] if signed else []), "paper"]
    levels += [f"p{level}" for level in range(1, HEAT_LEVELS + 1)]
    ends = [-top - half if signed else -half, top + half]
    scale = alt.Scale(type="quantize", domain=ends, range=[var(level) for level in levels])
    heat = alt.Color("value:Q", scale=scale, legend=None)
    cells: alt.Chart = placed(rows).mark_rect()
    return cells.encode(
        x2=alt.X2("right:Q"), y2=alt.Y2("bottom:Q"), color=heat, description=alt.Description("says:N")
    )


def heat_key(top: Number, signed: bool, y: Number, says: str = "") -> list[alt.Chart]:
    """The colour scale with its numbers, `y` pixels above the plot."""
    left, size = 34, 9
    levels = range(-HEAT_LEVELS if signed else 0, HEAT_LEVELS + 1)
    strip: list[Row] = [
        {"x": left + size * n, "right": left + size * (n + 1), "y": y - 5, "bottom": y + 5,
         "value": top * level / HEAT_LEVELS, "says": significant(top * level / HEAT_LEVELS)}
        for n, level in enumerate(levels)
    ]  # fmt: skip
    low, high = significant(-top if signed else 0.0, 2), significant(top, 2)
    after = {"x": left + size * len(levels) + 6, "y": y, "text": f"{high}   {says}".rstrip()}
    return [
        rectangles(strip, top, signed),
        words([{"x": left - 6, "y": y, "text": low}], fontSize=11, align="right"),
        words([after], fontSize=11, align="left"),
    ]


def _cell(heat: Heat, row: int, column: int, width: Number) -> Row:
    value = heat.values[row][column]
    text = heat.texts[row][column] if heat.texts is not None else ""
    return {
        "x": width * column,
        "right": width * (column + 1) - 1,
        "y": CELL * row,
        "bottom": CELL * (row + 1) - 1,
        "value": value,
        "marked": (row, column) in heat.marked,
        "says": f"{heat.rows[row]}, {heat.columns[column]}: {text} {significant(value)}".replace("  ", " "),
    }
