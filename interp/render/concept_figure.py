"""Concept recovery: for every labelled concept, how well the best feature of each method tells it."""

from collections.abc import Sequence

from interp.render.data import ConceptScore, Estimate, Kind, Number
from interp.render.digits import count, interval, number
from interp.render.svg import ROOMY, Scale, bottom_axis, figure_svg, key, line, mark, text, whisker

DRAWN: dict[str, Kind] = {"neurons": "neuron", "latents": "latent", "random": "random"}


def concept_recovery(
    scores: Sequence[ConceptScore], *, found_auroc: Number, width: int = 760, standalone: bool = False
) -> str:
    """A dot plot, one line per concept, best AUROC first, with intervals; the random baseline in grey."""
    table: dict[str, dict[str, ConceptScore]] = {}
    for score in scores:
        if score.method in DRAWN:
            table.setdefault(score.concept, {})[score.method] = score
    names = sorted(table, key=lambda name: (-_best(table[name]), name))
    left = min(round(0.42 * width), 14 + 7 * max((len(name) for name in names), default=8))
    top, row, right = 46, 19, width - 14
    bottom = top + row * len(names)
    lowest = min(
        (s.low if s.low is not None else s.auroc for t in table.values() for s in t.values()), default=0.5
    )
    x = Scale(min(0.5, int(lowest * 10) / 10), 1.0, left, right)
    axis = "AUROC of the best feature"
    if width >= ROOMY:
        axis += ", tokens with against without"
    parts = [bottom_axis(x, bottom, axis, top - 4, 6)]
    parts.append(line(x(found_auroc), top - 4, x(found_auroc), bottom, "bar-line"))
    parts.append(text(x(found_auroc), top - 10, f"found: {number(found_auroc)}", "note", "middle"))
    parts.append(key({kind: method for method, kind in DRAWN.items()}, left, width)[0])
    for index, name in enumerate(names):
        y = top + row * index + row / 2
        parts.append(text(left - 8, y + 4, name, "label", "end"))
        for method, shift in (("random", 0.0), ("neurons", -3.0), ("latents", 3.0)):
            entry = table[name].get(method)
            if entry is None:
                continue
            estimate = Estimate(entry.auroc, entry.low, entry.high)
            title = f"{name}, {method} {entry.feature}: {number(entry.auroc)} ({interval(estimate)}), "
            title += f"{count(entry.positives)} tokens carry it"
            parts.append(whisker(estimate, x, y + shift, DRAWN[method]))
            parts.append(mark(x(entry.auroc), y + shift, DRAWN[method], 3.6, title))
    label = f"Best AUROC of neurons, latents and random directions for {len(names)} concepts"
    return figure_svg(parts, width, bottom + 40, label, standalone=standalone)


def _best(methods: dict[str, ConceptScore]) -> Number:
    return max((s.auroc for m, s in methods.items() if m != "random"), default=0.0)
