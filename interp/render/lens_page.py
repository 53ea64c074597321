"""The lens as an interactive page: what is read at every layer and position of some texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from interp.json_text import to_json
from interp.render.characters import MOST_OF_A_TOKEN, shortened
from interp.render.html import rendered

Grid = Sequence[Sequence[float | int]]


@dataclass(frozen=True)
class LensGrid:
    """What one lens reads at one kind of site: rows are layers from the first to the last, columns positions.

    `tokens` and `probabilities` [row][pos][k] are the likeliest, `entropy` and `kl` [row][pos] in nats; for
    each target word, `target_probability` and `target_rank` [row][pos].
    """

    lens: str
    kind: str
    rows: Sequence[str]
    tokens: Sequence[Sequence[Sequence[str]]]
    probabilities: Sequence[Sequence[Sequence[float | int]]]
    entropy: Grid
    kl: Grid
    target_probability: Mapping[str, Grid]
    target_rank: Mapping[str, Grid]


@dataclass(frozen=True)
class LensText:
    """A text, token by token, and its grids."""

    tokens: Sequence[str]
    grids: Sequence[LensGrid]


def render_lens_page(title: str, texts: Sequence[LensText]) -> str:
    """The page as one self-contained string of HTML; no request leaves it.

    Texts, lenses, sites and what the heat shows are chosen on the page; a cell is chosen with the mouse,
    the arrow keys or a touch, and what is chosen stands in the address.
    """
    data = [
        {
            "tokens": _short(one.tokens),
            "grids": [
                {
                    "lens": grid.lens,
                    "kind": grid.kind,
                    "rows": list(grid.rows),
                    "tokens": _short(grid.tokens),
                    "probabilities": _short(grid.probabilities),
                    "entropy": _short(grid.entropy),
                    "kl": _short(grid.kl),
                    "targets": [
                        {"word": word, "probability": _short(grid.target_probability[word]), "rank": ranks}
                        for word, ranks in grid.target_rank.items()
                    ],
                }
                for grid in one.grids
            ],
        }
        for one in texts
    ]
    # the only character that could end a script element early
    embedded = to_json(data, separators=(",", ":")).replace("<", "\\u003c")
    return rendered("lens.html", ["lens.js"], title=title, data=Markup(embedded), texts=texts)


def _short(values: object) -> object:
    if isinstance(values, float):
        return float(f"{values:.4g}")
    if isinstance(values, str):
        return shortened(values, MOST_OF_A_TOKEN)
    if isinstance(values, list | tuple):
        return [_short(value) for value in values]
    return values
