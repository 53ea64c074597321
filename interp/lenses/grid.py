"""What a lens reads in a text, as HTML: an interactive page, and a table for a notebook."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from markupsafe import Markup

from interp.json_text import to_json
from interp.render.characters import MOST_OF_A_TOKEN, permitted, shortened
from interp.render.digits import significant
from interp.render.html import rendered_page
from interp.render.palette import css_variables
from interp.render.tokens import HeatScale, visible

TEMPLATES = Path(__file__).parent / "templates"
Grid = Sequence[Sequence[float | int]]


@dataclass(frozen=True)
class TargetGrid:
    """The probability and the rank of a target word, [row][pos]; rank 0 is the likeliest."""

    word: str
    probability: Grid
    rank: Grid


@dataclass(frozen=True)
class LensGrid:
    """What one lens reads at one kind of site: rows are layers from the first to the last, columns positions.

    `tokens` and `probabilities` [row][pos][k] are the likeliest, `entropy` and `kl` [row][pos] in nats.
    """

    lens: str
    kind: str
    rows: Sequence[str]
    tokens: Sequence[Sequence[Sequence[str]]]
    probabilities: Sequence[Sequence[Sequence[float | int]]]
    entropy: Grid
    kl: Grid
    targets: Sequence[TargetGrid]


@dataclass(frozen=True)
class LensText:
    """A text, token by token, and its grids."""

    tokens: Sequence[str]
    grids: Sequence[LensGrid]

    def table(self) -> Markup:
        """Renders the first grid for a notebook: the likeliest tokens, the last layer on top.

        Background: the probability of the likeliest; on hover: the likeliest few, entropy and KL.
        """
        grid, scale = self.grids[0], HeatScale(1.0)
        head = Markup().join(Markup("<th>{}</th>").format(_token(token)) for token in self.tokens)
        rows = Markup().join(
            Markup("<tr><th scope=row>{}</th>{}</tr>").format(grid.rows[row], _cells(grid, row, scale))
            for row in reversed(range(len(grid.rows)))
        )
        style = Markup("<style>{}{}</style>").format(Markup(css_variables()), _style())
        caption = f"{grid.lens}: the likeliest next token after each token, by layer ({grid.kind})"
        made = Markup(
            '<div class="lens">{}<table><caption>{}</caption><thead><tr><th></th>{}</tr></thead>'
            "<tbody>{}</tbody></table></div>"
        ).format(style, caption, head, rows)
        return Markup(permitted(made))


def lens_page_html(title: str, texts: Sequence[LensText]) -> str:
    """Renders the page as one self-contained string of HTML that makes no requests.

    The reader chooses the text, the lens, the kind of site and the quantity that colours the cells, and
    selects a cell with the mouse, the arrow keys or a touch; the address keeps these choices.
    """
    data = [_short(asdict(text)) for text in texts]
    # the only character that could end a script element early
    embedded = to_json(data, separators=(",", ":")).replace("<", "\\u003c")
    data_element = Markup(embedded)
    return rendered_page(
        "lens.html", ["lens.js"], [TEMPLATES], title=title, data=data_element, texts=texts, css=_style()
    )


def _style() -> Markup:
    return Markup((TEMPLATES / "lens.css").read_text(encoding="utf-8"))


def _cells(grid: LensGrid, row: int, scale: HeatScale) -> Markup:
    tops = [probabilities[0] for probabilities in grid.probabilities[row]]
    cells = []
    for place, heat in enumerate(scale.css_classes(tops)):
        likeliest = zip(grid.tokens[row][place], grid.probabilities[row][place], strict=True)
        says = [f"{token} {significant(probability)}" for token, probability in likeliest]
        says += [f"entropy {significant(grid.entropy[row][place])}", f"KL {significant(grid.kl[row][place])}"]
        says += [f"{one.word}: rank {one.rank[row][place]}" for one in grid.targets]
        cells.append(
            Markup('<td class="{}" title="{}">{}</td>').format(
                heat, "\n".join(says), _token(grid.tokens[row][place][0])
            )
        )
    return Markup().join(cells)


def _token(token: str) -> Markup:
    return visible(shortened(token, MOST_OF_A_TOKEN))


def _short(values: object) -> object:
    if isinstance(values, float):
        return float(f"{values:.4g}")
    if isinstance(values, str):
        return shortened(values, MOST_OF_A_TOKEN)
    if isinstance(values, list | tuple):
        return [_short(value) for value in values]
    if isinstance(values, dict):
        return {key: _short(value) for key, value in values.items()}
    return values
