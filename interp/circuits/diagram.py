"""Diagrams of a computation: boxes in rows from what is read, at the bottom, to the logits; edges go up."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Literal
from xml.etree import ElementTree

from markupsafe import Markup

from interp.render.characters import permitted, shortened
from interp.render.palette import BASE, Theme
from interp.render.theme import FONT, var

EdgeKind = Literal["q", "k", "v", "mlp", "logits", "edge"]
DASHES: Mapping[EdgeKind, str] = {"q": "7 3", "k": "2 3"}
"""How a query and a key are told from a value, an MLP's input and the logits, which are whole lines."""
SAID: Mapping[EdgeKind, str] = {"q": "query", "k": "key", "v": "value, MLP or logits"}
POSITIVE, NEGATIVE, PLAIN = "c", "accent", "muted"
"""Colours of edges whose corruption raises the metric, of those that carry it, and without scores."""
LETTER, HEIGHT, GAP = 6.3, 24.0, 10.0  # pixels: of a character, of a box, and between boxes of a line
LINE, STEP, BETWEEN = (
    36.0,
    32.0,
    40.0,
)  # pixels: from line to line, for what comes later in a row, between rows
LEFT, TOP, LEGEND, WIDEST = 52.0, 14.0, 20.0, 300.0  # margins, a legend's line, a column's lines
MOST_OF_A_LABEL = 24  # characters


@dataclass(frozen=True)
class Box:
    """What is drawn as a box. `row` counts from the bottom; `step` is 1 for what reads its own row.

    `column` groups boxes side by side (a token's position); None centres a row, wrapped to the width.
    `says` is shown on hover; `colour` is a name of the palette.
    """

    name: str
    label: str
    row: int
    kind: str = "head"
    step: int = 0
    column: int | None = None
    says: str = ""
    colour: str = "muted"

    @property
    def width(self) -> float:
        """Pixels that the label takes, at least those of a short one."""
        return max(40.0, round(LETTER * len(shortened(self.label, MOST_OF_A_LABEL)) + 14.0, 1))


@dataclass(frozen=True)
class Arrow:
    """An edge from a box to a box above it: as wide as the size of `score`, in the colour of its sign."""

    name: str
    source: str
    target: str
    kind: EdgeKind = "edge"
    score: float | None = None
    says: str = ""


@dataclass(frozen=True)
class Diagram:
    """Boxes, edges, and the names of rows from the bottom. Rows without a box are left out."""

    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    rows: Sequence[str] = field(default=())

    def layout(self, width: int = 620) -> "Layout":
        """Places the boxes; no two overlap. Rows are wrapped to the width, cells of columns to `WIDEST`."""
        ordered = sorted(self.boxes, key=lambda box: (box.row, box.column or 0, box.step))
        middles, wide = self._columns(width)
        room = WIDEST if middles else wide - LEFT - GAP
        centres: dict[str, tuple[float, float]] = {}
        levels: list[tuple[str, float]] = []
        height = 0.0  # upwards from the lowest row; turned around at the end
        for row, together in groupby(ordered, key=lambda box: box.row):
            boxes = list(together)
            first = min(box.step for box in boxes)
            levels.append((self.rows[row] if row < len(self.rows) else "", height))
            tallest = 0.0
            for column, cell in groupby(boxes, key=lambda box: box.column):
                middle = LEFT + (wide - LEFT) / 2 if column is None else middles[column]
                for place, line in enumerate(_wrapped(list(cell), room)):
                    for box, x in _side_by_side(line, middle):
                        above = place * LINE + (box.step - first) * STEP
                        centres[box.name] = (x, height + above)
                        tallest = max(tallest, above)
            height += tallest + HEIGHT + BETWEEN
        top = TOP + height - BETWEEN - HEIGHT / 2
        return Layout(
            self,
            wide,
            top + HEIGHT / 2 + GAP,
            {name: (x, top - y) for name, (x, y) in centres.items()},
            [(name, top - y) for name, y in levels],
        )

    def _columns(self, width: int) -> tuple[dict[int, float], float]:
        """The middle of each column, and the width of the whole."""
        middles: dict[int, float] = {}
        left: float = LEFT
        for column in sorted({box.column for box in self.boxes if box.column is not None}):
            inside = [box for box in self.boxes if box.column == column]
            lines = [
                line
                for row in {box.row for box in inside}
                for line in _wrapped([box for box in inside if box.row == row], WIDEST)
            ]
            room = max(sum(box.width + GAP for box in line) for line in lines) + GAP
            middles[column] = left + room / 2
            left += room
        return middles, max(float(width), left, *(LEFT + box.width + 2 * GAP for box in self.boxes))


@dataclass(frozen=True)
class Layout:
    """A diagram with its size in pixels, the centre of each box by name, and the heights of rows' names."""

    diagram: Diagram
    width: float
    height: float
    centres: Mapping[str, tuple[float, float]]
    levels: Sequence[tuple[str, float]]

    def rectangle(self, box: Box) -> tuple[float, float, float, float]:
        """A box's left, top, right and bottom."""
        x, y = self.centres[box.name]
        return x - box.width / 2, y - HEIGHT / 2, x + box.width / 2, y + HEIGHT / 2

    @cached_property
    def _named(self) -> dict[str, Box]:
        return {box.name: box for box in self.diagram.boxes}

    @cached_property
    def _largest(self) -> float:
        return max((abs(arrow.score) for arrow in self.diagram.arrows if arrow.score), default=0.0)

    def path(self, arrow: Arrow) -> str:
        """The curve of an edge: into a head on the left for its query, in the middle key, right value."""
        (x0, y0), (x1, y1) = self.centres[arrow.source], self.centres[arrow.target]
        aside = {"q": -0.25, "v": 0.25}.get(arrow.kind, 0.0) * self._named[arrow.target].width
        x1, y0, y1 = x1 + aside, y0 - HEIGHT / 2, y1 + HEIGHT / 2
        reach = max(12.0, 0.45 * (y0 - y1))
        out = x0 + x1 - (LEFT + self.width) >= 0
        bow = 0.12 * max(0.0, y0 - y1 - BETWEEN - STEP)  # not behind what is between
        bow = min(bow, self.width - max(x0, x1)) if out else -min(bow, min(x0, x1) - LEFT)
        points = (x0, y0), (x0 + bow, y0 - reach), (x1 + bow, y1 + reach), (x1, y1)
        start, *rest = (f"{x:.1f},{y:.1f}" for x, y in points)
        return f"M{start}C{' '.join(rest)}"

    def thickness(self, arrow: Arrow) -> float:
        """Pixels, from 1 to 6 by the size of the score."""
        if arrow.score is None or not self._largest:
            return 1.5
        return 1 + 5 * abs(arrow.score) / self._largest

    def svg(self, says: str, theme: Theme | None = None) -> Markup:
        """The drawing. Without a theme its colours are a page's CSS variables, else a file's own."""
        legend = self._legend()
        height = self.height + LEGEND * len(legend)
        drawing = ElementTree.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": "figure diagram",
                "viewBox": f"0 0 {self.width:g} {height:g}",
                "width": f"{self.width:g}",
                "height": f"{height:g}",
                "font-family": FONT,
                "font-size": "11",
                "role": "img",
                "aria-label": permitted(shortened(says)),
            },
        )
        colours = _Colours(theme)
        if theme is not None:
            size = {"width": "100%", "height": "100%"}
            ElementTree.SubElement(drawing, "rect", {**size, "fill": colours("paper")})
        for name, y in self.levels:
            _text(drawing, name, {"x": "4", "y": f"{y + 4:g}", "fill": colours("muted")})
        for arrow in sorted(self.diagram.arrows, key=self.thickness):
            self._draw_arrow(drawing, arrow, colours)
        for box in self.diagram.boxes:
            self._draw_box(drawing, box, colours)
        for place, items in enumerate(legend):
            _draw_legend(drawing, items, self.height + LEGEND * place + LEGEND / 2, colours)
        return Markup(ElementTree.tostring(drawing, encoding="unicode"))

    def _draw_arrow(self, drawing: ElementTree.Element, arrow: Arrow, colours: "_Colours") -> None:
        attributes = {
            "class": f"arrow {arrow.kind}",
            "data-edge": arrow.name,
            "data-source": arrow.source,
            "data-target": arrow.target,
            "d": self.path(arrow),
            "fill": "none",
            "stroke": colours(colour_of(arrow.score)),
            "stroke-width": f"{self.thickness(arrow):.2f}",
            "stroke-opacity": f"{0.35 + 0.1 * self.thickness(arrow):.2f}",
        }
        if arrow.kind in DASHES:
            attributes["stroke-dasharray"] = DASHES[arrow.kind]
        _titled(ElementTree.SubElement(drawing, "path", _permitted(attributes)), arrow.says or arrow.name)

    def _draw_box(self, drawing: ElementTree.Element, box: Box, colours: "_Colours") -> None:
        left, top, right, _ = self.rectangle(box)
        group = ElementTree.SubElement(
            drawing, "g", _permitted({"class": f"box {box.kind}", "data-node": box.name})
        )
        _titled(group, box.says or box.name)
        shape = {"x": f"{left:g}", "y": f"{top:g}", "width": f"{right - left:g}", "height": f"{HEIGHT:g}"}
        shape |= {"rx": "11" if box.kind == "head" else "3", "fill": colours("sheet")}
        ElementTree.SubElement(
            group, "rect", {**shape, "stroke": colours(box.colour), "stroke-width": "1.25"}
        )
        at = {"x": f"{(left + right) / 2:g}", "y": f"{top + 16:g}", "text-anchor": "middle"}
        _text(group, shortened(box.label, MOST_OF_A_LABEL), {**at, "fill": colours("ink")})

    def _legend(self) -> list[list[tuple[str, str, str]]]:
        """Lines of (text, dash, colour): the kinds of reader, and the signs, that are drawn."""
        arrows = self.diagram.arrows
        kinds: list[tuple[str, str, str]] = []
        if any(arrow.kind in DASHES for arrow in arrows):
            kinds = [(text, DASHES.get(kind, ""), PLAIN) for kind, text in SAID.items()]
        signs = []
        if any(arrow.score and arrow.score < 0 for arrow in arrows):
            signs.append(("negative score", "", NEGATIVE))
        if any(arrow.score and arrow.score > 0 for arrow in arrows):
            signs.append(("positive score", "", POSITIVE))
        return [line for line in (kinds, signs) if line]


@dataclass(frozen=True)
class _Colours:
    """A colour of the palette, as a page's CSS variable or in a theme."""

    theme: Theme | None

    def __call__(self, name: str) -> str:
        return var(name) if self.theme is None else BASE[self.theme][name]


def colour_of(score: float | None) -> str:
    """The palette's colour for an edge with this score."""
    return POSITIVE if score and score > 0 else NEGATIVE if score else PLAIN


def _wrapped(boxes: Sequence[Box], width: float) -> Iterator[list[Box]]:
    """Cuts a row into lines that fit; a box alone always does."""
    line: list[Box] = []
    for box in boxes:
        if line and sum(one.width + GAP for one in (*line, box)) - GAP > width:
            yield line
            line = []
        line.append(box)
    yield line


def _side_by_side(boxes: Sequence[Box], middle: float) -> Iterator[tuple[Box, float]]:
    """Yields boxes with the middle of each, together centred."""
    left = middle - (sum(box.width + GAP for box in boxes) - GAP) / 2
    for box in boxes:
        yield box, left + box.width / 2
        left += box.width + GAP


def _draw_legend(
    drawing: ElementTree.Element, items: Sequence[tuple[str, str, str]], y: float, colours: _Colours
) -> None:
    x: float = LEFT
    for text, dash, colour in items:
        line = {"x1": f"{x:g}", "x2": f"{x + 24:g}", "y1": f"{y:g}", "y2": f"{y:g}", "stroke-width": "2"}
        line |= {"stroke": colours(colour)} | ({"stroke-dasharray": dash} if dash else {})
        ElementTree.SubElement(drawing, "line", line)
        _text(drawing, text, {"x": f"{x + 29:g}", "y": f"{y + 4:g}", "fill": colours("muted")})
        x += 29 + LETTER * len(text) + 14


def _text(parent: ElementTree.Element, text: str, attributes: dict[str, str]) -> None:
    ElementTree.SubElement(parent, "text", attributes).text = permitted(text)


def _titled(element: ElementTree.Element, text: str) -> None:
    ElementTree.SubElement(element, "title").text = permitted(shortened(text))


def _permitted(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: permitted(value) for name, value in attributes.items()}
