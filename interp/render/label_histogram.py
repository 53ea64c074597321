"""Activation of one feature by concept: what kind of input drives it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from interp.render.data import Kind, Number
from interp.render.digits import count, percent, significant
from interp.render.svg import (
    LETTER,
    LINE,
    ROOMY,
    Scale,
    bottom_axis,
    empty_svg,
    figure_svg,
    fitted,
    limits,
    line,
    polygon,
    text,
)

BINS = 48
ROW = 40  # pixels from one row to the next
WIDE_NOTES = ("share of a row's tokens, heights scaled per row; tick: median",)
PHONE_NOTES = ("shares, scaled per row", "tick: median")
LEAST = 1.5  # pixels of a bin that holds one token


@dataclass(frozen=True)
class Group:
    """Activations at the tokens that carry one label; `other` marks the tokens that carry none of them."""

    name: str
    values: Sequence[Number]
    other: bool = False


def label_histogram(
    groups: Sequence[Group],
    *,
    x_name: str,
    kind: Kind = "neuron",
    width: int = 620,
    standalone: bool = False,
) -> str:
    """One histogram a row over shared bins, heights scaled per row; all other tokens last, in grey.

    Args:
        groups: Drawn in their order, the others last.
        x_name: The activation with its unit.
        kind: What the feature is; gives the colour.
        width: Pixels.
        standalone: Whether to embed the style sheet.
    """
    rows = [(g, sorted(v for v in g.values if math.isfinite(v))) for g in groups]
    rows.sort(key=lambda row: row[0].other)
    everything = [values[end] for _, values in rows if values for end in (0, -1)]
    if not everything:
        return empty_svg("No activations to draw.", width, standalone=standalone)
    roomy = width >= ROOMY
    longest = max(max(len(g.name) for g, _ in rows), len("n 100,000"))
    left, right = min(0.34 * width, 14 + LETTER * longest), width - (76 if roomy else 50)
    notes = WIDE_NOTES if roomy else PHONE_NOTES
    top = 11 + LINE * len(notes)
    bottom = top + ROW * len(rows)
    x = Scale(*limits(everything, 0.02), left, right)
    bins = np.linspace(x.low, x.high, BINS + 1)
    parts = [
        bottom_axis(x, bottom, x_name, top, 6 if roomy else 4),
        text(width - 4, 14, "tallest bin" if roomy else "tallest", "note", "end"),
    ]
    parts += [text(left, 14 + LINE * i, note, "note") for i, note in enumerate(notes)]
    if x.low < 0 < x.high:
        parts.append(line(x(0), top, x(0), bottom, "axis"))
    for index, (group, values) in enumerate(rows):
        base = top + ROW * (index + 1)
        parts += _label(group, len(values), left, base)
        parts += _row(values, bins, x, base, "random" if group.other else kind, group.name, width)
    label = f"{x_name} by label. " + "; ".join(_says(g, values) for g, values in rows)
    return figure_svg(parts, width, bottom + 40, label, standalone=standalone)


def _label(group: Group, n: int, left: Number, base: Number) -> list[Markup]:
    return [
        text(left - 8, base - 18, fitted(group.name, left - 10), "label", "end"),
        text(left - 8, base - 4, f"n {count(n)}" if n else "no tokens", "note", "end"),
    ]


def _row(
    values: Sequence[Number], bins: np.ndarray, x: Scale, base: Number, kind: Kind, name: str, width: int
) -> list[Markup]:
    """The outline over its base line, the median, and the share of the tallest bin."""
    parts = [line(x.start, base, x.end, base, "axis")]
    if not values:
        return parts
    counts = np.histogram(values, bins)[0].tolist()
    tallest = max(counts)
    outline = [(x.start, base)]
    for many, low, high in zip(counts, bins[:-1].tolist(), bins[1:].tolist(), strict=True):
        height = max(LEAST, (ROW - 8) * many / tallest) if many else 0.0
        outline += [(x(low), round(base - height, 1)), (x(high), round(base - height, 1))]
    outline.append((x.end, base))
    median = float(np.median(values))
    title = f"{name}: {count(len(values))} tokens, median {significant(median)}, "
    title += f"{significant(values[0])} to {significant(values[-1])}"
    parts.append(polygon(outline, f"{kind} {kind}-line outline", title))
    parts.append(line(x(median), base - ROW + 8, x(median), base + 4, "median"))
    parts.append(text(width - 4, base - 4, percent(tallest / len(values)), "tick", "end"))
    return parts


def _says(group: Group, values: Sequence[Number]) -> str:
    if not values:
        return f"{group.name}: no tokens"
    return f"{group.name}: median {significant(float(np.median(values)))} of {count(len(values))} tokens"
