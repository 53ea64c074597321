"""Concept recovery: for every labelled concept, how well the best feature of each method tells it."""

from collections.abc import Mapping, Sequence

from interp.render.data import PLURAL, ConceptScore, Kind, Number
from interp.render.digits import count, interval, number
from interp.render.svg import ROOMY, Scale, bottom_axis, figure_svg, key, line, mark, text, whisker

DRAWN: Mapping[str, Kind] = {"neurons": "neuron", "latents": "latent", "random": "random"}
LANE = 3.0  # pixels from one method of a concept to the next


def concept_recovery(
    scores: Sequence[ConceptScore],
    *,
    found_auroc: Number | None,
    drawn: Mapping[str, Kind] = DRAWN,
    measure: str = "AUROC",
    chance: Number = 0.5,
    width: int = 760,
    standalone: bool = False,
) -> str:
    """A dot plot, one line per concept, best first, with intervals; the random baseline in grey.

    Args:
        scores: One a concept and method; `auroc` holds the measure, whichever it is.
        found_auroc: From where a concept counts as found; None draws no line.
        drawn: The methods that are shown, and the colour of each.
        measure: What is measured, for the axis.
        chance: Where the axis begins at the latest.
        width: Pixels.
        standalone: Whether to embed the style sheet.
    """
    table: dict[str, dict[str, ConceptScore]] = {}
    for score in scores:
        if score.method in drawn:
            table.setdefault(score.concept, {})[score.method] = score
    best = {
        name: max((s.auroc for m, s in methods.items() if drawn[m] != "random"), default=0.0)
        for name, methods in table.items()
    }
    names = sorted(table, key=lambda name: (-best[name], name))
    shown = {method: name for method, name in drawn.items() if any(method in row for row in table.values())}
    lanes = [method for method, kind in shown.items() if kind != "random"]
    shift = {method: LANE * (2 * i - len(lanes) + 1) for i, method in enumerate(lanes)}
    left = min(round(0.42 * width), 14 + 7 * max((len(name) for name in names), default=8))
    labels: dict[Kind, str] = {}
    for method, kind in shown.items():
        labels[kind] = PLURAL[kind] if kind in labels else method
    entries, below = key(labels, left, width)
    top, row, right = 46 + below, 13 + 2 * LANE * max(1, len(lanes) - 1), width - 14
    bottom = top + row * len(names)
    lowest = min(
        (s.low if s.low is not None else s.auroc for t in table.values() for s in t.values()), default=chance
    )
    x = Scale(min(chance, int(lowest * 10) / 10), 1.0, left, right)
    axis = f"{measure} of the best feature"
    if width >= ROOMY:
        axis += ", tokens with against without"
    parts = [bottom_axis(x, bottom, axis, top - 4, 6)]
    if found_auroc is not None:
        parts.append(line(x(found_auroc), top - 4, x(found_auroc), bottom, "bar-line"))
        parts.append(text(x(found_auroc), top - 10, f"found: {number(found_auroc)}", "note", "middle"))
    parts.append(entries)
    for index, name in enumerate(names):
        y = top + row * index + row / 2
        parts.append(text(left - 8, y + 4, name, "label", "end"))
        for method in sorted(shown, key=lambda method: shown[method] != "random"):
            entry = table[name].get(method)
            if entry is None:
                continue
            estimate = entry.estimate
            title = f"{name}, {method} {entry.feature}: {number(entry.auroc)} ({interval(estimate)}), "
            title += f"{count(entry.positives)} tokens carry it"
            at = y + shift.get(method, 0.0)
            parts.append(whisker(estimate, x, at, shown[method]))
            parts.append(mark(x(entry.auroc), at, shown[method], 3.6, title))
    label = f"Best {measure} of {', '.join(labels.values())} for {len(names)} concepts"
    return figure_svg(parts, width, bottom + 40, label, standalone=standalone)
