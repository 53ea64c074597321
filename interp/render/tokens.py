"""Tokens with their activations as background colour: the renderer for app, reports and notebooks."""

import math
import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal

from markupsafe import Markup, escape

from interp.render.characters import MOST_OF_A_TOKEN, shortened
from interp.render.digits import significant
from interp.render.palette import HEAT_LEVELS, css_variables
from interp.statistics.estimate import Number

Titles = Literal["all", "hot", "peak"]
CLASSES = {
    level: f"{'p' if level > 0 else 'n'}{abs(level)}" for level in range(-HEAT_LEVELS, HEAT_LEVELS + 1)
}
CLASSES[0] = ""
_PLAIN = re.compile(r"\S+")
VISIBLE = {"\n": "↵", "\t": "⇥", "\r": "␍"}


@dataclass(frozen=True)
class TokenWindow:
    """Tokens of one window with one value each.

    `start` is the position of the first token in its document; `peak` indexes the window, or is None. A token
    whose value is NaN has none, and is drawn in grey.
    """

    tokens: Sequence[str]
    values: Sequence[Number]
    token_ids: Sequence[int] | None = None
    start: int = 0
    peak: int | None = None


@dataclass(frozen=True)
class HeatScale:
    """Activation to colour, fixed for a feature: full heat at `top`, in units of activation.

    A signed scale is symmetric: blue below zero, orange above. An unsigned one shows nothing below zero.
    """

    top: Number
    signed: bool = False

    @classmethod
    def over(
        cls, windows: Iterable[Sequence[Number]], signed: bool = False, top: Number = 0.0
    ) -> "HeatScale":
        """Makes a scale up to the largest value in size, or `top` if that is larger."""
        for values in windows:
            for value in values:
                top = max(top, abs(value) if signed else value)
        return cls(top=top, signed=signed)

    def level(self, value: Number) -> int:
        """Heat level of a value, from -8 to 8; 0 (no colour) below a sixteenth of the scale."""
        if self.top <= 0 or math.isnan(value) or (value < 0 and not self.signed):
            return 0
        return round(min(1.0, max(-1.0, value / self.top)) * HEAT_LEVELS)

    def css_classes(self, values: Sequence[Number]) -> list[str]:
        """The class of each value: "p1" to "p8" above zero, "n1" to "n8" below, "" for no colour."""
        return [CLASSES[self.level(value)] for value in values]

    def legend(self, caption: str = "") -> Markup:
        """The scale as HTML: a strip of its colours with the numbers at its ends, and what they are."""
        names = [f"n{i}" for i in range(HEAT_LEVELS, 0, -2)] if self.signed else []
        names += ["", *(f"p{i}" for i in range(2, HEAT_LEVELS + 1, 2))]
        cells = Markup().join(Markup('<i class="{}"></i>').format(name) for name in names)
        low = significant(-self.top if self.signed else 0.0, 2)
        said = Markup("<span>{}</span>").format(caption) if caption else ""
        return Markup('<span class="legend"><span>{}</span>{}<span>{}</span>{}</span>').format(
            low, cells, significant(self.top, 2), said
        )


def visible(text: str) -> Markup:
    """Token text with its white space drawn: `·` for outer spaces, `↵` for line ends. Escaped."""
    if not text:
        return Markup('<i class="ws">∅</i>')
    head = len(text) - len(text.lstrip(" "))
    tail = 0 if head == len(text) else len(text) - len(text.rstrip(" "))
    body = text[head : len(text) - tail]
    out = _marks("·" * head)
    if any(mark in body for mark in VISIBLE):
        out += Markup().join(_marks(VISIBLE[c]) if c in VISIBLE else escape(c) for c in body)
    else:
        out += escape(body)
    return out + _marks("·" * tail)


def render_tokens(
    window: TokenWindow,
    scale: HeatScale,
    *,
    special_ids: AbstractSet[int] = frozenset(),
    radius: int | None = 16,
    titles: Titles = "all",
) -> Markup:
    """A window as HTML: heat, underlined peak, special tokens as pills, everything escaped.

    Args:
        window: Tokens and values, of equal length.
        scale: The feature's scale, so that windows can be compared.
        special_ids: Token ids drawn as pills without heat (BOS, end of turn).
        radius: Tokens kept on each side of the peak; the rest opens on request. None keeps all.
        titles: Which tokens say their value, id and position on hover: all, those with heat, or the peak.

    Raises:
        ValueError: The lengths differ or the peak lies outside the window.
    """
    length = len(window.tokens)
    if len(window.values) != length or (window.token_ids is not None and len(window.token_ids) != length):
        raise ValueError(f"{length} tokens need as many values and ids")
    if window.peak is not None and not 0 <= window.peak < length:
        raise ValueError(f"peak {window.peak} lies outside a window of {length} tokens")
    first, last = 0, length
    if radius is not None and length > 2 * radius + 1:
        centre = window.peak if window.peak is not None else length // 2
        first = min(max(0, centre - radius), length - 2 * radius - 1)
        last = first + 2 * radius + 1
    spans = _spans(window, scale, special_ids, titles)
    # tokens with their own spaces are pieces of words: a gap between them would look like a space
    pieces = " pieces" if any(token[:1].isspace() for token in window.tokens) else ""
    return Markup('<div class="tokens{}">{}{}{}</div>').format(
        pieces, _cut(spans[:first]), Markup().join(spans[first:last]), _cut(spans[last:])
    )


@dataclass(frozen=True)
class TokenView:
    """Windows on one scale for a notebook: the last line of a cell draws them.

    `radius` is as in `render_tokens`; `caption` says what the values are.
    """

    windows: Sequence[TokenWindow]
    scale: HeatScale
    special_ids: AbstractSet[int] = field(default_factory=frozenset)
    radius: int | None = 16
    caption: str = ""

    def _repr_html_(self) -> str:
        rows = Markup().join(
            render_tokens(window, self.scale, special_ids=self.special_ids, radius=self.radius)
            for window in self.windows
        )
        style = Markup("<style>{}</style>").format(Markup(css_variables() + token_css()))
        legend = self.scale.legend(self.caption)
        return str(Markup("<div>{}{}{}</div>").format(style, legend, rows))


@cache
def token_css() -> str:
    """The style sheet of the tokens; needs the variables of the palette."""
    return (files("interp.render") / "templates" / "tokens.css").read_text(encoding="utf-8")


def _spans(
    window: TokenWindow, scale: HeatScale, special_ids: AbstractSet[int], titles: Titles
) -> list[Markup]:
    """Each token as HTML. One loop over plain strings, since a report holds a hundred thousand tokens."""
    spans = []
    ids = window.token_ids if window.token_ids is not None else [None] * len(window.tokens)
    tokens = [shortened(token, MOST_OF_A_TOKEN) for token in window.tokens]
    rows = zip(tokens, ids, window.values, scale.css_classes(window.values), strict=True)
    for index, (token, token_id, value, heat) in enumerate(rows):
        where = "" if token_id is None else f" · id {int(token_id)}"
        where += f" · position {window.start + index}"
        if token_id is not None and token_id in special_ids:
            spans.append(Markup(f'<span class="pill" title="special token{where}">{escape(token)}</span>'))
            continue
        is_peak = index == window.peak
        names = "none" if math.isnan(value) else f"{heat} peak".lstrip() if is_peak else heat
        attributes = f' class="{names}"' if names else ""
        if is_peak or titles == "all" or (titles == "hot" and heat):
            said = where.removeprefix(" · ") if math.isnan(value) else f"{significant(value)}{where}"
            attributes += f' title="{said}"'
        shown = escape(token) if _PLAIN.fullmatch(token) else visible(token)
        spans.append(Markup(f"<span{attributes}>{shown}</span>"))
    return spans


def _cut(spans: Sequence[Markup]) -> Markup:
    if not spans:
        return Markup()
    label = f"{len(spans)} more {'token' if len(spans) == 1 else 'tokens'}"
    return Markup(
        '<details class="cut"><summary title="{}" aria-label="show {}">…</summary>{}</details>'
    ).format(label, label, Markup().join(spans))


def _marks(text: str) -> Markup:
    return Markup('<i class="ws">{}</i>').format(text) if text else Markup()
