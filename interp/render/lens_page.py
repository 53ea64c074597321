"""The lens as an interactive page: what is read at every layer and position of some texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from interp.json_text import to_json
from interp.render.html import environment

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
            "tokens": list(one.tokens),
            "grids": [
                {
                    "lens": grid.lens,
                    "kind": grid.kind,
                    "rows": list(grid.rows),
                    "tokens": grid.tokens,
                    "probabilities": _rounded(grid.probabilities),
                    "entropy": _rounded(grid.entropy),
                    "kl": _rounded(grid.kl),
                    "targets": [
                        {"word": word, "probability": _rounded(grid.target_probability[word]), "rank": ranks}
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
    template = environment().get_template("lens.html")
    return template.render(title=title, data=Markup(embedded), texts=texts)


def _rounded(values: object) -> object:
    if isinstance(values, float):
        return float(f"{values:.4g}")
    if isinstance(values, list | tuple):
        return [_rounded(value) for value in values]
    return values
