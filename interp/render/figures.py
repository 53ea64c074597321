"""The figures about scores: one that needs no introduction, and the histograms behind it."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from interp.render.data import Estimate, FeatureRow, Kind, Number, Population
from interp.render.digits import interval, measured, number
from interp.render.svg import (
    ROOMY,
    Scale,
    bottom_axis,
    figure_svg,
    left_axis,
    line,
    mark,
    rectangle,
    text,
    tick_label,
    whisker,
)

BIN_WIDTH = 0.1
AXIS = "score: Pearson r, predicted against true activation"


def overview_figure(
    populations: Sequence[Population],
    features: Sequence[FeatureRow],
    *,
    width: int = 760,
    standalone: bool = False,
) -> str:
    """Every description as a dot by its score, each population's mean with its interval, the null in grey."""
    left, right, top, row = 14, width - 14, 26, 92
    bottom = top + row * len(populations)
    scores = [f.both.value for f in features if f.both.point is not None]
    x = Scale(min(-0.2, *_floor([*scores, 0.0])), 1.0, left, right)
    parts = [bottom_axis(x, bottom, "", top - 6)]
    parts.append(text((left + right) / 2, bottom + 50, AXIS, "name", "middle"))
    roomy = width >= ROOMY
    chance, perfect = (
        ("no better than guessing", "predicts every response") if roomy else ("guessing", "perfect")
    )
    parts.append(text(x(0), bottom + 32, chance, "name", "middle"))
    parts.append(text(right, bottom + 32, perfect, "name", "end"))
    label = []
    for index, population in enumerate(populations):
        base = top + row * index
        parts.append(_null_band(population.null, x, base + 22, row - 26))
        if index == 0 and roomy and population.null.point is not None and population.null.ends:
            parts.append(text(x(population.null.high) + 5, base + 33, "shuffled descriptions", "note"))
        name = population.label.capitalize()
        parts.append(text(left, base + 12, name, "strong"))
        mean = population.both
        summary = f"mean {measured(mean)}" + (f" ({interval(mean)})" if interval(mean) else "")
        shown = sum(f.group == population.label and f.both.point is not None for f in features)
        parts.append(text(right, base + 12, f"{shown} descriptions, {summary}", "note", "end"))
        middle = base + 56
        parts += _swarm([f for f in features if f.group == population.label], x, middle)
        if mean.point is not None:
            parts.append(
                line(
                    x(mean.value), middle - 30, x(mean.value), middle + 30, f"whisker {population.kind}-line"
                )
            )
            parts.append(whisker(mean, x, middle, population.kind))
            parts.append(mark(x(mean.value), middle, population.kind, 6, summary, "halo"))
        label.append(f"{name}: {summary}")
    return figure_svg(parts, width, bottom + 56, "; ".join(label), standalone=standalone)


def score_distributions(
    populations: Sequence[Population],
    features: Sequence[FeatureRow],
    *,
    width: int = 560,
    standalone: bool = False,
) -> str:
    """One histogram of scores per population on one axis, with mean, interval and null band."""
    left, right, panel = 38, width - 10, 150
    by_name = {p.label: [f.both.point for f in features if f.group == p.label] for p in populations}
    scores = {name: [v for v in values if v is not None] for name, values in by_name.items()}
    low = min(-0.2, *_floor([v for values in scores.values() for v in values] + [0.0]))
    bins = round((1 - low) / BIN_WIDTH)
    counts = {name: _histogram(values, low, bins) for name, values in scores.items()}
    shares = {name: [100 * c / max(1, len(scores[name])) for c in counts[name]] for name in counts}
    tallest = max((share for values in shares.values() for share in values), default=1.0) or 1.0
    x = Scale(low, 1.0, left, right)
    parts: list[Markup] = []
    for index, population in enumerate(populations):
        top, base = index * panel + 34, index * panel + panel - 8
        y = Scale(0, tallest * 1.08, base, top)
        parts.append(_null_band(population.null, x, top, base - top))
        name = f"{population.label} (% of {len(scores[population.label])} scored)"
        parts.append(left_axis(y, left, name, right, 3))
        for i, share in enumerate(shares[population.label]):
            if share:
                edge = low + i * BIN_WIDTH
                many = counts[population.label][i]
                title = f"{number(edge, 1)} to {number(edge + BIN_WIDTH, 1)}: {many} features"
                x0, x1 = x(edge), x(edge + BIN_WIDTH)
                css = f"{population.kind} faint"
                parts.append(rectangle(x0 + 0.5, y(share), x1 - x0 - 1, base - y(share), css, title))
        parts.append(line(left, base, right, base, "axis"))
        mean = population.both
        if mean.point is not None:
            parts.append(line(x(mean.value), top, x(mean.value), base, f"whisker {population.kind}-line"))
            parts.append(whisker(mean, x, top + 5, population.kind))
            parts.append(mark(x(mean.value), top + 5, population.kind, 4, "mean", "halo"))
            parts.append(text(right, top - 9, f"mean {measured(mean)} ({interval(mean)})", "note", "end"))
    height = panel * len(populations)
    parts.append(bottom_axis(x, height - 8, AXIS, height - 8, 6))
    return figure_svg(parts, width, height + 30, "Distribution of description scores", standalone=standalone)


def activation_profile(
    quantiles: Sequence[tuple[Number, Number]], kind: Kind, *, width: int = 150, height: int = 26
) -> str:
    """A feature's activation over all tokens: range thin, middle 98% and 50% thicker, zero in grey."""
    if len(quantiles) < 2 or not all(math.isfinite(value) for _, value in quantiles):
        return ""
    low, high = min(0.0, quantiles[0][1]), max(0.0, quantiles[-1][1])
    x = Scale(low, high, 3, width - 3)
    middle = height / 2
    parts = [line(x(0), 2, x(0), height - 2, "axis")]
    for tail, thick in ((0.0, 1.0), (0.01, 4.0), (0.25, 10.0)):
        a, b = _at(quantiles, tail), _at(quantiles, 1 - tail)
        parts.append(rectangle(x(a), middle - thick / 2, max(1.0, x(b) - x(a)), thick, kind + " faint"))
    ends = f"{tick_label(round(quantiles[0][1], 3))} to {tick_label(round(quantiles[-1][1], 3))}"
    median = tick_label(round(_at(quantiles, 0.5), 3))
    label = f"Activation over all tokens: {ends}, median {median}; thick: middle half, then middle 98%"
    parts.append(rectangle(0, 0, width, height, "hit", label))
    return figure_svg(parts, width, height, label)


def _swarm(features: Sequence[FeatureRow], x: Scale, middle: Number) -> list[Markup]:
    """Dots pushed up and down until they do not cover one another, in a fixed order."""
    columns: dict[int, int] = {}
    dots = []
    scored = [f for f in features if f.both.point is not None]
    for feature in sorted(scored, key=lambda f: (f.both.point or 0.0, f.key)):
        at = x(feature.both.point or 0.0)
        column = round(at / 6)
        stacked = columns.get(column, 0)
        columns[column] = stacked + 1
        offset = ((stacked + 1) // 2) * 6.2 * (1 if stacked % 2 else -1)
        offset = max(-30.0, min(30.0, offset))
        title = f"{feature.key}: {number(feature.both.value)}, {feature.text}"
        dots.append(mark(column * 6, middle + offset, feature.kind, 3, title, "faint"))
    return dots


def _null_band(null: Estimate, x: Scale, top: Number, height: Number) -> Markup:
    if null.point is None:
        return Markup()
    low, high = null.ends or (null.value, null.value)
    title = f"shuffled descriptions: mean {measured(null)}, range {number(low)} to {number(high)}"
    return rectangle(x(low), top, max(2.0, x(high) - x(low)), height, "null", title)


def _histogram(values: Sequence[Number], low: Number, bins: int) -> list[int]:
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int((value - low) / BIN_WIDTH + 1e-9)))] += 1
    return counts


def _floor(values: Sequence[Number]) -> list[Number]:
    return [int(v * 10 - 1) / 10 if v < 0 else 0.0 for v in values]


def _at(quantiles: Sequence[tuple[Number, Number]], probability: Number) -> Number:
    """Activation at a probability, linear between the two nearest quantiles."""
    before = quantiles[0]
    for point in quantiles:
        if point[0] >= probability:
            if point[0] == before[0]:
                return point[1]
            share = (probability - before[0]) / (point[0] - before[0])
            return before[1] + share * (point[1] - before[1])
        before = point
    return quantiles[-1][1]
