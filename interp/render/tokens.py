"""Tokens with their activations as background heat: the one renderer for web, report and notebook."""

import math
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from markupsafe import Markup, escape

from interp.render.data import Number
from interp.render.digits import significant
from interp.render.palette import HEAT_LEVELS, css_variables

VISIBLE = {"\n": "↵", "\t": "⇥", "\r": "␍"}


@dataclass(frozen=True)
class TokenWindow:
    """Tokens of one window with one value each.

    `start` is the position of the first token in its document; `peak` indexes the window, or is None.
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
        """A scale that reaches the largest value, or `top` if that is larger."""
        for values in windows:
            for value in values:
                top = max(top, abs(value) if signed else value)
        return cls(top=top, signed=signed)

    def level(self, value: Number) -> int:
        """Heat from -8 to 8; 0, no colour, below a sixteenth of the scale."""
        if self.top <= 0 or math.isnan(value) or (value < 0 and not self.signed):
            return 0
        share = min(1.0, abs(value) / self.top)
        level = round(share * HEAT_LEVELS)
        return level if value > 0 else -level

    def css_class(self, value: Number) -> str:
        """The class of a value: "p1" to "p8", "n1" to "n8" or ""."""
        level = self.level(value)
        return "" if level == 0 else f"p{level}" if level > 0 else f"n{-level}"

    def legend(self) -> Markup:
        """A strip of the colours between the numbers they stand for."""
        names = [f"n{i}" for i in range(HEAT_LEVELS, 0, -2)] if self.signed else []
        names += ["", *(f"p{i}" for i in range(2, HEAT_LEVELS + 1, 2))]
        cells = Markup().join(Markup('<i class="{}"></i>').format(name) for name in names)
        low = significant(-self.top if self.signed else 0.0, 2)
        return Markup('<span class="legend"><span>{}</span>{}<span>{}</span></span>').format(
            low, cells, significant(self.top, 2)
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
    titles: bool = True,
) -> Markup:
    """A window as HTML: heat, underlined peak, special tokens as pills, everything escaped.

    Args:
        window: Tokens and values, of equal length.
        scale: The feature's scale, so that windows can be compared.
        special_ids: Token ids drawn as pills without heat (BOS, end of turn).
        radius: Tokens kept on each side of the peak; the rest opens on request. None keeps all.
        titles: Whether tokens without heat carry a title too (value, token id, position).

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
    spans = [_token(window, scale, i, special_ids, titles) for i in range(length)]
    return Markup('<div class="tokens">{}{}{}</div>').format(
        _cut(spans[:first]), Markup().join(spans[first:last]), _cut(spans[last:])
    )


@dataclass(frozen=True)
class TokenView:
    """Windows of one feature for a notebook: the last line of a cell draws them."""

    windows: Sequence[TokenWindow]
    scale: HeatScale
    special_ids: AbstractSet[int] = field(default_factory=frozenset)

    def _repr_html_(self) -> str:
        rows = Markup().join(render_tokens(w, self.scale, special_ids=self.special_ids) for w in self.windows)
        style = Markup("<style>{}</style>").format(Markup(css_variables() + token_css()))
        return str(Markup("<div>{}{}{}</div>").format(style, self.scale.legend(), rows))


@cache
def token_css() -> str:
    """The style sheet of the tokens; needs the variables of the palette."""
    return (files("interp.render") / "templates" / "tokens.css").read_text(encoding="utf-8")


def _token(
    window: TokenWindow, scale: HeatScale, index: int, special_ids: AbstractSet[int], titles: bool
) -> Markup:
    value = window.values[index]
    token_id = None if window.token_ids is None else window.token_ids[index]
    if token_id is not None and token_id in special_ids:
        return Markup('<span class="pill" title="special token, id {} · position {}">{}</span>').format(
            token_id, window.start + index, window.tokens[index]
        )
    names = [name for name in (scale.css_class(value), "peak" if index == window.peak else "") if name]
    attributes = Markup(' class="{}"').format(" ".join(names)) if names else Markup()
    if titles or names:
        where = f"{significant(value)} · position {window.start + index}"
        if token_id is not None:
            where = f"{significant(value)} · id {token_id} · position {window.start + index}"
        attributes += Markup(' title="{}"').format(where)
    return Markup("<span{}>{}</span>").format(attributes, visible(window.tokens[index]))


def _cut(spans: Sequence[Markup]) -> Markup:
    if not spans:
        return Markup()
    label = f"{len(spans)} more {'token' if len(spans) == 1 else 'tokens'}"
    return Markup(
        '<details class="cut"><summary title="{}" aria-label="show {}">…</summary>{}</details>'
    ).format(label, label, Markup().join(spans))


def _marks(text: str) -> Markup:
    return Markup('<i class="ws">{}</i>').format(text) if text else Markup()
