"""How charts look: Vega-Lite's configuration in the palette's colours, as CSS variables or hex values."""

import math
from collections.abc import Mapping
from typing import Any

from interp.render.characters import permitted, shortened
from interp.render.palette import BASE, Role, Theme, heat

FONT = "Liberation Sans, Helvetica, Arial, sans-serif"  # the first one comes with vl-convert
TICK = (
    "replace(abs(datum.value) >= 1e6 ? format(datum.value / 1e6, '~g') + 'M' : "
    "abs(datum.value) >= 1e4 ? format(datum.value / 1e3, '~g') + 'k' : format(datum.value, '~g'), '-', '−')"
)


SHAPES: Mapping[Role, str] = {
    "a": "circle",
    "b": "M0,-1.37L1.37,0L0,1.37L-1.37,0Z",
    "c": "M0,-1.37L1.37,1.1L-1.37,1.1Z",
    "null": "M-.4,-1.15H.4V1.15H-.4Z",
}
"""A circle, a diamond, a triangle and a bar, of similar size."""


def var(name: str) -> str:
    """The CSS variable of a colour of the palette: a role, a level of heat, or a part of the frame."""
    return f"var(--{name})"


CONFIG: Mapping[str, Any] = {
    "font": FONT,
    "aria": False,
    "background": None,
    "padding": {"left": 4, "right": 6, "top": 4, "bottom": 4},
    "view": {"stroke": None},
    "axis": {
        "aria": False,
        "domainColor": var("muted"),
        "gridColor": var("line"),
        "labelColor": var("muted"),
        "labelExpr": TICK,
        "labelFontSize": 11,
        "ticks": False,
        "labelPadding": 6,
        "titleColor": var("muted"),
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 6,
    },
    "axisY": {"domain": False},
    "legend": {
        "aria": False,
        "orient": "top",
        "title": None,
        "labelColor": var("muted"),
        "labelFontSize": 11.5,
        "labelLimit": 300,
        "columnPadding": 14,
        "rowPadding": 3,
        "offset": 10,
        "symbolOpacity": 1,
        "symbolSize": 45,
    },
    "title": {
        "anchor": "start",
        "frame": "bounds",
        "aria": False,
        "color": var("muted"),
        "fontSize": 12,
        "fontWeight": "normal",
        "offset": 8,
    },
    "line": {"strokeWidth": 1.75, "strokeJoin": "round"},
    "point": {"filled": True, "opacity": 1, "size": 45},
    "rule": {"color": var("muted")},
    "text": {
        "color": var("muted"),
        "fontSize": 11.5,
        "align": "center",
        "baseline": "middle",
        "lineBreak": "\n",
    },
}


def themed(spec: Any, theme: Theme | None) -> Any:
    """The specification ready to be drawn: forbidden characters replaced, numbers that are not finite None.

    With a theme, the page's colour variables are replaced by the theme's colours.
    """
    colours = {} if theme is None else {var(name): c for name, c in {**BASE[theme], **heat(theme)}.items()}
    return _plain(spec, colours)


def _plain(part: Any, colours: Mapping[str, str]) -> Any:
    if isinstance(part, Mapping):
        return {key: _plain(value, colours) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_plain(value, colours) for value in part]
    if isinstance(part, str):
        return colours.get(part) or permitted(shortened(part))
    return None if isinstance(part, float) and not math.isfinite(part) else part
