"""Line charts: how a quantity moved while something was trained."""

from collections.abc import Sequence

from interp.render.data import Number
from interp.render.svg import Scale, bottom_axis, figure_svg, left_axis, polyline

QUANTITIES = {
    "explained_variance": "explained variance (share of the batch's)",
    "l0": "L0 (latents active per token)",
    "cross_entropy_recovered": "cross-entropy recovered (share)",
    "dead_latents": "dead latents (count)",
}


def quantity(name: str) -> str:
    """What a metric's name such as "sae/l0" says on an axis, with its unit; other names stay as they are."""
    return QUANTITIES.get(name.rpartition("/")[2], name)


def training_curve(
    points: Sequence[tuple[Number, Number]],
    name: str,
    *,
    x_name: str = "tokens seen",
    width: int = 360,
    height: int = 190,
    standalone: bool = False,
) -> str:
    """One curve; `name` is a metric or says the quantity and its unit, and stands above the vertical axis."""
    name = quantity(name)
    finite = [(a, b) for a, b in points if b == b and abs(b) != float("inf")]
    if not finite:
        return ""
    low, high = min(b for _, b in finite), max(b for _, b in finite)
    room = (high - low or abs(high) or 1.0) * 0.08
    x = Scale(min(0.0, finite[0][0]), finite[-1][0], 46, width - 14)
    y = Scale(low - room if low < 0 or low > (high - low) else 0.0, high + room, height - 44, 30)
    parts = [
        left_axis(y, 46, name, width - 14),
        bottom_axis(x, height - 44, x_name, 30, 4),
        polyline([(x(a), y(b)) for a, b in finite], "curve latent-line"),
    ]
    return figure_svg(parts, width, height, f"{name} against {x_name}", standalone=standalone)
