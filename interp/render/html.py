"""What pages are made of: escaping templates, a style sheet, scripts, downloads, drawings for two widths."""

import base64
import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from interp.render import digits
from interp.render.palette import css_variables
from interp.render.svg import figure_css
from interp.render.tokens import token_css

PHONE = 350  # width in pixels of the second drawing of a figure, shown on narrow screens
LARGEST_PAGE = 5_000_000  # bytes


@cache
def environment() -> Environment:
    """Jinja2 with everything escaped and a misspelt name an error."""
    env = Environment(
        loader=PackageLoader("interp.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in (
        "number",
        "significant",
        "measured",
        "interval",
        "count",
        "percent",
        "duration",
        "approximately",
    ):
        env.filters[name] = getattr(digits, name)
    env.globals.update(csv_uri=csv_uri, style=style, script=script)
    return env


def csv_uri(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """A table as a data URI, so that the download works offline and without scripts; no value is no text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)  # with its line end, \r\n, both of these are quoted in cells
    writer.writerow(head)
    writer.writerows(["" if _missing(cell) else cell for cell in row] for row in rows)
    encoded = base64.b64encode(buffer.getvalue().encode()).decode()
    return Markup("data:text/csv;charset=utf-8;base64,") + Markup(encoded)


def style() -> Markup:
    """The style sheet of all pages."""
    return Markup("\n".join((css_variables(), _template_text("page.css"), token_css(), figure_css())))


def script(name: str) -> Markup:
    """A script that lies beside the templates."""
    return Markup(_template_text(name))


def both_widths(draw: Callable[[int], str], width: int) -> list[Markup]:
    """A figure drawn for wide screens, `width` pixels, and for phones."""
    return [Markup(draw(pixels)) for pixels in (width, PHONE)]


def _template_text(name: str) -> str:
    return (files("interp.render") / "templates" / name).read_text(encoding="utf-8")


def _missing(cell: object) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))
