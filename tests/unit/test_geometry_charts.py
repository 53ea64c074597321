"""The charts of feature geometry: marks where the numbers are, nothing where there are none, both widths."""

import math

import pytest

from experiments.superposition.charts import (
    Gram,
    Plane,
    Shares,
    gram_chart,
    plane_chart,
    share_chart,
)
from interp.render.figure import Draw
from tests.unit.test_charts import HOSTILE, marks, outline, place, svg, texts

GUIDES = {"digon": 0.5, "triangle": 2 / 3}


def plane(*panels: Plane) -> Draw:
    return plane_chart(panels, name="directions (a.u.)")


def maps(*panels: Gram) -> Draw:
    return gram_chart(panels, name="dot products")


def shares(*models: Shares, guides=GUIDES) -> Draw:
    return share_chart(models, guides, x_name="sparsity (log10)")


@pytest.mark.parametrize("width", [760, 350])
def test_charts_fit_their_width_and_keep_hostile_words_as_text(width):
    for draw in [
        plane(Plane(HOSTILE, [(1, 0), (0.0, -2)], HOSTILE)),
        maps(Gram(HOSTILE, [[1, 0.0], [0.0, 1]], [1, 1.0], [0, 0.2])),
        shares(Shares(1, [0.5, 0.5], 0.5), Shares(0, [1], 1), guides={HOSTILE: 0.5}),
    ]:
        root = svg(draw, width)
        assert root.get("width") == str(width) and root.get("aria-label") and not list(root.iter("b"))


def test_empty_input_says_so():
    for draw, says in [
        (plane(), "No vectors to draw."),
        (maps(), "No vectors to draw."),
        (maps(Gram("a", [], [], [])), "No vectors to draw."),
        (shares(), "No models to draw."),
        (shares(Shares(math.nan, [1], 1)), "No models to draw."),
    ]:
        assert texts(svg(draw)) == [says]


def test_vectors_point_where_they_should_on_one_scale():
    root = svg(plane(Plane("one", [(1, 0), (0, 0.5)]), Plane("two", [(-1, -1), (math.nan, 0)])))
    ends = [(float(e.get("x2", 0)), float(e.get("y2", 0))) for e in marks(root, "vectors")]
    (up_x, up_y), (right_x, right_y), (left_x, left_y) = ends  # drawn from the last to the first
    assert right_x > 0 and right_y == 0  # (1, 0) goes right
    assert up_x == 0 and -up_y == pytest.approx(right_x / 2, abs=0.1)  # (0, 0.5) goes up by half of that
    assert (-left_x, left_y) == pytest.approx((right_x, right_x), abs=0.1)
    assert root.get("aria-label") == "directions (a.u.). one: 2 vectors; two: 2 vectors"


def test_heat_is_signed_and_bars_are_as_long_as_the_vectors():
    root = svg(maps(Gram("p", [[1, -1], [-0.5, 0.01]], [1.0, 0.5], [0, 1])))
    titled = {e.find("title").text: e for e in marks(root, "cells")}
    assert titled["1 · 1 = 1.00"].get("fill") == "var(--p8)"
    assert titled["1 · 2 = −1.00"].get("fill") == "var(--n8)"
    assert titled["2 · 1 = −0.50"].get("fill") == "var(--n4)"
    assert not any(says.startswith("2 · 2") for says in titled)  # next to nothing is left blank
    long, short = (
        titled[f"{i}: length {length}, superposition {shared}"]
        for i, length, shared in ((1, "1.00", "0.00"), (2, "0.50", "1.00"))
    )
    widths = [float(bar.get("d").split("h")[1].split("v")[0]) for bar in (long, short)]
    assert widths[0] == pytest.approx(2 * widths[1], rel=1e-2)
    assert (long.get("fill"), short.get("fill")) == ("var(--p1)", "var(--p8)")


def test_dots_stand_in_columns_over_the_lines_of_the_arrangements():
    root = svg(shares(Shares(2, [0.5, 0.5, 2 / 3, math.nan], 0.4), Shares(0, [1.0], 1.0)))
    dots = [place(e) for e in marks(root, "dots")]
    assert len(dots) == 4
    digon, triangle = (place(e)[1] for e in marks(root, "references"))
    on_digon = [x for x, height in dots if height == pytest.approx(digon)]
    assert len(on_digon) == 2 and 0 < abs(on_digon[0] - on_digon[1]) < 8
    assert sum(height == pytest.approx(triangle) for _, height in dots) == 1
    (curve,) = marks(root, "curves")
    assert len(outline(curve)) == 2
    assert "D* goes from 1.00 to 0.40" in root.get("aria-label")
