"""A figure of a page, a notebook or a paper: a chart under a title, drawn for any width."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import altair as alt
import vl_convert
from markupsafe import Markup

from interp.errors import UserError
from interp.json_text import to_json
from interp.render.palette import Theme
from interp.render.theme import CONFIG, themed, var
from interp.track.files import write_bytes, writing_explained

Draw = Callable[[int], alt.TopLevelMixin]
PHONE = 350  # width in pixels of the second drawing of a figure, shown on narrow screens
SHARPNESS = 2  # pixels of a PNG for each pixel of the figure
NOISE = frozenset({"role", "aria-roledescription", "aria-hidden", "aria-label", "pointer-events", "class"})
SHARED = frozenset({"fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "text-anchor"})
CIRCLE = re.compile(r"M([\d.]+),0A\1,\1,0,1,1,-\1,0A\1,\1,0,1,1,\1,0")
UNSAID = frozenset({("opacity", "1"), ("font-weight", "normal"), ("transform", "translate(0,0)")})


@dataclass(frozen=True)
class Figure:
    """A chart under a title.

    `name` is that of the files in which a run saves it. `title` says what is seen, `caption` what it was
    measured on (split, n, seed). `chart` makes the chart for a width in pixels, as the functions of
    `interp.render.charts` return it; it is drawn at `width` for wide screens and once more for phones.
    """

    name: str
    title: str
    caption: str
    chart: Draw
    width: int = 620

    def spec(self, width: int | None = None, theme: Theme | None = "light") -> dict[str, Any]:
        """The Vega-Lite specification; without a theme, its colours are a page's CSS variables."""
        spec = self.chart(width or self.width).to_dict(validate=False)
        spec["usermeta"] = {"title": self.title, "caption": self.caption}
        spec["config"] = CONFIG if theme is None else {**CONFIG, "background": var("paper")}
        plain: dict[str, Any] = themed(spec, theme)
        return plain

    def svg(self, width: int | None = None) -> Markup:
        """The chart as SVG for a page that has the palette; the same data gives the same bytes."""
        spec = self.spec(width, None)
        drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
        return _inline(drawn, spec.get("description", self.title))

    def drawings(self, width: int | None = None) -> list[Markup]:
        """The chart for wide screens and for phones."""
        return [self.svg(width), self.svg(PHONE)]

    def save(self, path: str | Path, theme: Theme = "light") -> Path:
        """Write the chart to a file whose name ends with .svg, .png, .pdf or .json (Vega-Lite).

        Raises:
            UserError: the name has another ending, or the file cannot be written
        """
        path = Path(path)
        if path.suffix not in _WRITERS:
            known = ", ".join(_WRITERS)
            raise UserError(
                "a figure cannot be saved under this name", str(path), f"end it with one of {known}"
            )
        content = _WRITERS[path.suffix](self.spec(theme=theme))
        with writing_explained(path.parent):
            write_bytes(path, content)
        return path

    def _repr_html_(self) -> str:
        drawn = vl_convert.vegalite_to_svg(self.spec(), allowed_base_urls=[])
        return str(_inline(drawn, self.title))


_WRITERS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    ".svg": lambda spec: vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]).encode(),
    ".png": lambda spec: vl_convert.vegalite_to_png(spec, scale=SHARPNESS, allowed_base_urls=[]),
    ".pdf": lambda spec: vl_convert.vegalite_to_pdf(spec, allowed_base_urls=[]),
    ".json": lambda spec: to_json(spec, indent=1, ensure_ascii=False).encode(),
}


def _inline(drawn: str, says: str) -> Markup:
    """Vega's SVG made fit for a page: with a label, with titles of marks, without needless attributes."""
    root = ElementTree.fromstring(drawn)
    _rename(root)
    size = {name: root.attrib[name] for name in ("viewBox", "width", "height")}
    svg = ElementTree.Element("svg", {"class": "figure", **size, "role": "img", "aria-label": says})
    for child in root:
        svg.extend(_tidied(child))
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def _tidied(element: ElementTree.Element) -> Iterator[ElementTree.Element]:
    tag = element.tag.rpartition("}")[2]
    if element.get("class") in ("background", "foreground") and not {"fill", "stroke"} & set(element.attrib):
        return
    kept = {k: _short(v) for k, v in element.items() if k not in NOISE and (k, v) not in UNSAID}
    if tag in ("text", "tspan"):
        kept.pop("font-family", None)
    if name := re.search(r"\brole-mark (?!layer_|concat_)(\w+)_marks", element.get("class", "")):
        kept["class"] = name[1]
    if "stroke" not in kept:
        kept.pop("stroke-width", None)
    if round_mark := CIRCLE.fullmatch(kept.get("d", "")):
        tag, kept["r"] = "circle", round_mark[1]
        del kept["d"]
    new = ElementTree.Element(tag, kept)
    new.text = element.text
    if tag in ("path", "circle", "line") and (says := element.get("aria-label")):
        ElementTree.SubElement(new, "title").text = says
    for child in element:
        new.extend(_tidied(child))
    if name:
        _share(new)
    if tag == "g" and not kept:
        yield from new
    elif tag != "g" or len(new):
        yield new


def _share(group: ElementTree.Element) -> None:
    """Move the attributes that all marks of a group share to the group."""
    for key in sorted(SHARED & set(group[0].attrib)) if len(group) > 1 else ():
        if len({mark.get(key) for mark in group}) == 1:
            group.set(key, group[0].attrib[key])
            for mark in group:
                del mark.attrib[key]


def _rename(root: ElementTree.Element) -> None:
    """Give clips and gradients ids that are unique on a page and depend on the figure alone.

    Vega numbers them across all drawings of a process.
    """
    named = [element for element in root.iter() if "id" in element.attrib]
    names = {element.attrib["id"]: str(n) for n, element in enumerate(named)}
    if names:
        _set_names(root, names)
        known = hashlib.sha256(ElementTree.tostring(root)).hexdigest()[:10]
        _set_names(root, {name: f"f{known}-{name}" for name in names.values()})


def _set_names(root: ElementTree.Element, names: Mapping[str, str]) -> None:
    for element in root.iter():
        for key, value in element.items():
            new = names[value] if key == "id" else re.sub(r"(?<=url\(#)\w+", lambda m: names[m[0]], value)
            element.set(key, new)


def _short(value: str) -> str:
    """An attribute with its numbers rounded to two decimals."""
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
