"""Pages: escaping templates, a style sheet, scripts and downloads."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined
from markupsafe import Markup

from interp.csv_text import csv_text
from interp.render import digits
from interp.render.characters import permitted, shortened
from interp.render.palette import css_variables
from interp.render.tokens import token_css

LARGEST_PAGE = 5_000_000  # bytes


@cache
def environment(folders: tuple[Path, ...] = ()) -> Environment:
    """Jinja2 with everything escaped and a misspelt name an error; templates of `folders` come first."""
    env = Environment(
        loader=ChoiceLoader([FileSystemLoader(folders), PackageLoader("interp.render")]),
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
    env.filters["shortened"] = shortened
    env.globals.update(csv_uri=csv_uri, style=style)
    return env


def csv_uri(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """A table in CSV as a data URI, whose download works offline and without scripts."""
    encoded = base64.b64encode(csv_text(head, rows).encode()).decode()
    return Markup("data:text/csv;charset=utf-8;base64,") + Markup(encoded)


def style() -> Markup:
    """The style sheet of all pages."""
    return Markup("\n".join((css_variables(), _template_text("page.css"), token_css())))


def rendered_page(
    template: str, scripts: Sequence[str], folders: Sequence[Path] = (), **values: object
) -> str:
    """Renders a page from a template and scripts, of this package or of `folders`.

    Its Content-Security-Policy lets a browser run these scripts and no other, load nothing from anywhere, and
    send nothing. Characters that no page may hold become U+FFFD.
    """
    env = environment(tuple(folders))
    assert env.loader is not None
    code = Markup("\n".join(env.loader.get_source(env, script)[0] for script in scripts))
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    # styles are inline in drawings; the icon is an empty data URI
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = env.get_template(template).render(code=code, policy=Markup(policy), **values)
    return permitted(page)


def _template_text(name: str) -> str:
    return (files("interp.render") / "templates" / name).read_text(encoding="utf-8")
