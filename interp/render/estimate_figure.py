"""Estimates side by side: dots with their intervals, a row a label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from interp.render.data import PLURAL, Estimate, Kind, Number
from interp.render.digits import UNDEFINED, interval, measured
from interp.render.svg import (
    LETTER,
    ROOMY,
    Scale,
    bottom_axis,
    empty_svg,
    figure_svg,
    fitted,
    key,
    limits,
    line,
    mark,
    text,
    tick_label,
    whisker,
)

STEP = 13  # pixels from one entry of a row to the next


@dataclass(frozen=True)
class Entry:
    """One estimate of a row; `note` is a few words such as "n 120"."""

    kind: Kind
    estimate: Estimate
    note: str = ""


@dataclass(frozen=True)
class EstimateRow:
    """What was estimated, and its estimates from top to bottom."""

    label: str
    entries: Sequence[Entry]


def estimates(
    rows: Sequence[EstimateRow],
    *,
    x_name: str,
    names: Mapping[Kind, str] = PLURAL,
    null: Number | None = 0.0,
    width: int = 620,
    standalone: bool = False,
) -> str:
    """A dot plot with whiskers; a dashed line where nothing would be seen.

    Args:
        rows: Drawn from top to bottom.
        x_name: The estimated quantity with its unit.
        names: What each kind of mark stands for.
        null: The value that means no effect; None if there is none.
        width: Pixels.
        standalone: Whether to embed the style sheet.
    """
    if not any(row.entries for row in rows):
        return empty_svg("No estimates to draw.", width, standalone=standalone)
    kinds = {entry.kind for row in rows for entry in row.entries}
    roomy = width >= ROOMY
    notes = max(len(entry.note) for row in rows for entry in row.entries) if roomy else 0
    left = min(0.42 * width, 16 + LETTER * max(len(row.label) for row in rows))
    right = width - (min(0.25 * width, 16 + LETTER * notes) if notes else 14)
    entries, below = key({kind: names.get(kind, PLURAL[kind]) for kind in kinds}, 10, width)
    top = 46 + below
    bottom = top + sum(_height(row) for row in rows)
    values = [value for row in rows for entry in row.entries for value in entry.estimate.reach]
    x = Scale(*limits([*values, *([] if null is None else [null])], 0.04), left, right)
    parts = [bottom_axis(x, bottom, x_name, top - 4, 6 if roomy else 4), entries]
    if null is not None:
        parts.append(line(x(null), top - 4, x(null), bottom, "bar-line"))
        parts.append(text(x(null), top - 10, f"no effect: {tick_label(null)}", "note", "middle"))
    at = top
    for row in rows:
        parts.append(line(10, at, right, at, "grid"))
        parts.append(text(left - 8, at + _height(row) / 2 + 4, fitted(row.label, left - 10), "label", "end"))
        for index, entry in enumerate(row.entries):
            parts += _entry(row.label, entry, x, at + 4 + STEP * (index + 0.5), names, width if notes else 0)
        at += _height(row)
    label = f"{x_name}. " + "; ".join(
        f"{row.label}: " + ", ".join(f"{names.get(e.kind, e.kind)} {_says(e)}" for e in row.entries)
        for row in rows
    )
    return figure_svg(parts, width, bottom + 40, label, standalone=standalone)


def _entry(
    label: str, entry: Entry, x: Scale, y: Number, names: Mapping[Kind, str], note_at: Number
) -> list[Markup]:
    title = f"{label}, {names.get(entry.kind, entry.kind)}: {_says(entry)}"
    parts = [whisker(entry.estimate, x, y, entry.kind)]
    if entry.estimate.point is None:
        parts.append(text(x.start + 4, y + 4, f"{UNDEFINED} not defined", "note over"))
    else:
        parts.append(mark(x(entry.estimate.point), y, entry.kind, 3.8, title))
    if note_at and entry.note:
        parts.append(text(note_at - 4, y + 4, fitted(entry.note, note_at - x.end - 8), "note", "end"))
    return parts


def _height(row: EstimateRow) -> int:
    """Pixels of a row."""
    return 8 + STEP * max(1, len(row.entries))


def _says(entry: Entry) -> str:
    ends = interval(entry.estimate)
    return (
        measured(entry.estimate) + (f" ({ends})" if ends else "") + (f", {entry.note}" if entry.note else "")
    )
