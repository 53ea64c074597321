"""Figures of the training of a dictionary."""

from collections.abc import Sequence

from interp.render.charts.curves import Curve, curve_chart
from interp.render.figure import Figure
from interp.statistics.estimate import Estimate, Number

QUANTITIES = {
    "explained_variance": "explained variance (share of the batch's)",
    "l0": "L0 (latents active per token)",
    "cross_entropy_recovered": "cross-entropy recovered (share)",
    "dead_latents": "dead latents (count)",
}


def quantity(name: str) -> str:
    """Returns the axis title of a metric such as "sae/l0", with its unit; other names stay as they are."""
    return QUANTITIES.get(name.rpartition("/")[2], name)


def training_curve(
    name: str, points: Sequence[tuple[Number, Number]], x_name: str = "tokens seen", width: int = 360
) -> Figure:
    """Draws a metric over the course of training."""
    curve = Curve("", "b", [(at, Estimate(value)) for at, value in points])
    chart = curve_chart([curve], x_name=x_name, y_name=quantity(name), height=110)
    return Figure(name.replace("/", "_"), quantity(name), "", chart, width)
