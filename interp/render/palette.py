"""The colours of pages and figures: one set of CSS variables for light and one for dark; colour is a role."""

from collections.abc import Mapping
from typing import Literal

Role = Literal["a", "b", "c", "null"]
"""The role of a mark in its figure: one of up to three things compared, or the result of chance alone."""
ROLES: tuple[Role, ...] = ("a", "b", "c", "null")
OF_KIND: Mapping[str, Role] = {"neuron": "a", "latent": "b", "direction": "c", "random": "null"}
"""The role of each kind of feature, on every page."""
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
HEAT_LEVELS = 8
MINIMUM_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3

BASE: Mapping[Theme, Mapping[str, str]] = {
    "light": {
        "paper": "#ffffff",
        "sheet": "#f7f7f5",
        "line": "#e0dfda",
        "ink": "#1c1d1f",
        "muted": "#5c5f66",
        "accent": "#1f5fa8",
        "a": "#7d3fa8",
        "b": "#0d7a63",
        "c": "#96560b",
        "null": "#686b71",
    },
    "dark": {
        "paper": "#141619",
        "sheet": "#1b1e22",
        "line": "#30343a",
        "ink": "#e7e6e3",
        "muted": "#a2a6ad",
        "accent": "#7fb2ee",
        "a": "#c596ea",
        "b": "#4cc4a7",
        "c": "#e2a757",
        "null": "#969aa2",
    },
}
FULL_HEAT: Mapping[Theme, Mapping[str, str]] = {
    "light": {"positive": "#f4963a", "negative": "#72abe4"},
    "dark": {"positive": "#96500f", "negative": "#2a629f"},
}


def mix(start: str, end: str, share: float | int) -> str:
    """The colour `share` (0 to 1) of the way from one hex colour to another, in sRGB."""
    channels = zip(_channels(start), _channels(end), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in channels)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two hex colours, 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def heat(theme: Theme) -> dict[str, str]:
    """Backgrounds by name: p1 to p8 above zero and n1 to n8 below, from faint to full heat."""
    paper, full = BASE[theme]["paper"], FULL_HEAT[theme]
    return {
        f"{letter}{level}": mix(paper, full[side], 0.12 + 0.88 * (level - 1) / (HEAT_LEVELS - 1))
        for letter, side in (("p", "positive"), ("n", "negative"))
        for level in range(1, HEAT_LEVELS + 1)
    }


def css_variables() -> str:
    """The palette as a style sheet: light by default, dark where the reader prefers it, light in print."""
    light, dark = (_declarations({**BASE[theme], **heat(theme)}) for theme in THEMES)
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        + "".join(
            f".{letter}{level}{{background:var(--{letter}{level})}}"
            for letter in "pn"
            for level in range(1, HEAT_LEVELS + 1)
        )
        + "".join(f".{kind}{{--role:var(--{role})}}" for kind, role in OF_KIND.items())
    )


def _declarations(colours: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    def linear(channel: int) -> float:
        share = channel / 255
        return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)

    red, green, blue = (linear(channel) for channel in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
