"""A page for any experiment: a question, its answer in three sentences and one figure, then the evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from interp.render.characters import shortened
from interp.render.digits import UNDEFINED, interval, measured, number, significant
from interp.render.figure import Figure
from interp.render.html import LARGEST_PAGE, csv_uri, rendered_page
from interp.statistics.estimate import Estimate, Number


@dataclass(frozen=True)
class StudiedModel:
    """The model that was studied. `note` is one sentence a reader must know, such as a training-time mask."""

    name: str
    architecture: str
    parameters: int
    layers: int
    d_model: int
    vocabulary: int
    context_size: int
    backend: str
    note: str = ""


@dataclass(frozen=True)
class RunInfo:
    """The run that made the report. `config` is the resolved YAML, `manifest` versions and hardware.

    `text` says what was unusual in the corpus; empty if nothing was.
    `notes` are sentences on how its figures were made.
    """

    name: str
    command: str
    date: str
    seed: int
    config: str
    manifest: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    notes: Sequence[str] = ()


Cell = str | int | float | Estimate | None
OPENING = 3  # sentences: what was asked, what was done, the verdict
FOLDED = 15  # rows from which a table is folded away
IN_GRID, WIDE = 540, 1240  # widths in pixels of a figure beside others, and of a single one
NARROW = 4  # columns up to which a table fits beside a figure
SHOWN_ROWS = (500, 100, 20)  # most rows shown of a table, tried in turn until the page is small enough


@dataclass(frozen=True)
class Column:
    """The head of a column.

    `places` are the decimal places of plain numbers; if None they have three significant digits. `of` is the
    column of a dataframe that `Table.of` fills it from, by default the one called `name`.
    """

    name: str
    unit: str = ""
    places: int | None = None
    of: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and downloaded.

    `name` is short and names the download, `caption` says what is in it. Every row has one cell per column: a
    text, a number, None if missing, or an `Estimate`, which takes three columns of the download. Long tables
    are folded; rows that a page has no room for are still in the download.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        wrong = [len(row) for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"table {self.name!r}: {len(self.columns)} columns, a row of {wrong[0]} cells")

    @classmethod
    def of(cls, frame: pd.DataFrame, columns: Sequence[Column | str], name: str, caption: str) -> "Table":
        """A table of some columns of a dataframe; `x`, `x_low` and `x_high` are one estimate.

        A string stands for the `Column` of that name. Missing values become None.
        """
        heads = [Column(column) if isinstance(column, str) else column for column in columns]
        filled = [_cells(frame, head.of or head.name) for head in heads]
        return cls(name, caption, heads, [list(row) for row in zip(*filled, strict=True)])

    @property
    def folded(self) -> bool:
        """Whether the table is long and shown only on a click."""
        return len(self.rows) > FOLDED

    @property
    def fits_beside(self) -> bool:
        """Whether it is narrow and short enough to stand beside a figure."""
        return len(self.columns) <= NARROW and not self.folded

    def slug(self) -> str:
        """The name for use in a file's name."""
        return "-".join(self.name.split())

    def numeric(self) -> list[bool]:
        """For every column, whether it holds numbers and no text."""
        cells = [[row[i] for row in self.rows if row[i] is not None] for i in range(len(self.columns))]
        return [bool(column) and not any(isinstance(c, str) for c in column) for column in cells]

    def shown(self, most: int) -> list[list["ShownCell"]]:
        """The first `most` rows as text."""
        return [
            [_shown(cell, column.places) for cell, column in zip(row, self.columns, strict=True)]
            for row in self.rows[:most]
        ]

    def csv(self) -> Markup:
        """All rows as a data URI."""
        estimates = [any(isinstance(row[i], Estimate) for row in self.rows) for i in range(len(self.columns))]
        head: list[str] = []
        for column, is_estimate in zip(self.columns, estimates, strict=True):
            head += [column.name + end for end in (("", "_low", "_high") if is_estimate else ("",))]
        rows: list[list[object]] = []
        for row in self.rows:
            cells: list[object] = []
            for cell, is_estimate in zip(row, estimates, strict=True):
                if isinstance(cell, Estimate):
                    cells += [cell.value, cell.low, cell.high]
                else:
                    cells += [cell, None, None] if is_estimate else [cell]
            rows.append(cells)
        return csv_uri(head, rows)


@dataclass(frozen=True)
class Section:
    """A part of the evidence; `title` says what is seen.

    A single figure is beside the paragraphs and the narrow tables; several are in a grid, each `IN_GRID`
    pixels wide.
    """

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()

    @property
    def widest(self) -> int:
        """Largest width of a figure in pixels."""
        return IN_GRID if len(self.figures) > 1 else WIDE

    @property
    def beside(self) -> list[Table]:
        """The tables that stand beside the one figure."""
        return [table for table in self.tables if len(self.figures) == 1 and table.fits_beside]

    @property
    def below(self) -> list[Table]:
        """The tables that stand under the figures."""
        return [table for table in self.tables if table not in self.beside]


@dataclass(frozen=True)
class Page:
    """The content of a page.

    `opening` is three plain sentences, of which the last is the verdict. `words` explains terms as pairs of
    term and meaning, `limits` are sentences, `subject` is the model, if one was run, and `timing` is step ->
    seconds.
    """

    question: str
    opening: Sequence[str]
    headline: Figure
    sections: Sequence[Section]
    words: Sequence[tuple[str, str]]
    limits: Sequence[str]
    subject: StudiedModel | None
    run: RunInfo
    timing: Mapping[str, Number]

    def __post_init__(self) -> None:
        if len(self.opening) != OPENING:
            raise ValueError(f"a page opens with {OPENING} sentences, not {len(self.opening)}")

    def figures(self) -> list[Figure]:
        """All figures, one of each name: a name stands for one figure, which may be shown twice."""
        shown = [self.headline, *(figure for section in self.sections for figure in section.figures)]
        return list({figure.name: figure for figure in shown}.values())


@dataclass(frozen=True)
class ShownCell:
    """A cell's text, the interval under it, and the key to sort by, if it is not the text."""

    text: str
    interval: str = ""
    key: Number | str | None = None


def render_page(page: Page, largest: int = LARGEST_PAGE) -> str:
    """Renders the page as HTML; the same data gives the same bytes.

    The page makes no requests. If it is over `largest` bytes, its tables are cut, and say so.
    """
    drawings = [
        [figure.drawings(min(figure.width, section.widest)) for figure in section.figures]
        for section in page.sections
    ]
    headline = page.headline.drawings()
    html = ""
    for most in SHOWN_ROWS:
        html = rendered_page(
            "page.html",
            ["page.js"],
            page=page,
            headline=headline,
            sections=list(zip(page.sections, drawings, strict=True)),
            most=most,
            subject=page.subject,
            run=page.run,
            timing=page.timing,
            limits=page.limits,
        )
        if len(html.encode()) < largest:
            break
    return html


def _cells(frame: pd.DataFrame, name: str) -> list[Cell]:
    values = [None if pd.isna(value) else value for value in frame[name].tolist()]
    if f"{name}_low" not in frame:
        return [("no", "yes")[value] if isinstance(value, bool) else value for value in values]
    return [Estimate.of(row, name) for row in frame.to_dict("records")]


def _shown(cell: Cell, places: int | None) -> ShownCell:
    if isinstance(cell, str):
        return ShownCell(cell if hasattr(cell, "__html__") else shortened(cell))
    if isinstance(cell, Estimate):
        key: Number | str = cell.point if cell.point is not None else ""
        return ShownCell(measured(cell), interval(cell), key)
    text = significant(cell) if places is None else number(cell, places)
    return ShownCell(text, key="" if cell is None or text == UNDEFINED else cell)
