"""The figures of feature geometry: marks where the numbers are, nothing where there are none, valid files."""

import math
from xml.etree import ElementTree

import pytest

from interp.render.dimensionality_figure import Sparsity, dimensionalities
from interp.render.gram_figure import GramPanel, grams
from interp.render.vectors_figure import Panel, vectors

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<b>&\"'</b>\x00"
GUIDES = {"digon": 0.5, "triangle": 2 / 3}


def parse(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)


def having(root: ElementTree.Element, css: str) -> list[ElementTree.Element]:
    return [e for e in root.iter() if set(css.split()) <= set(e.get("class", "").split())]


def plane(*panels: Panel, **options) -> ElementTree.Element:
    return parse(vectors(panels, name="directions (a.u.)", standalone=True, **options))


def maps(*panels: GramPanel, **options) -> ElementTree.Element:
    return parse(grams(panels, name="dot products", standalone=True, **options))


def shares(*models: Sparsity, guides=GUIDES, **options) -> ElementTree.Element:
    return parse(dimensionalities(models, guides, x_name="sparsity (log10)", standalone=True, **options))


def everything(word: str, width: int) -> list[ElementTree.Element]:
    return [
        plane(Panel(word, [(1, 0), (0.0, -2)], word), width=width),
        maps(GramPanel(word, [[1, 0.0], [0.0, 1]], [1, 1.0], [0, 0.2]), width=width),
        shares(Sparsity(1, [0.5, 0.5], 0.5), Sparsity(0, [1], 1), guides={word: 0.5}, width=width),
    ]


@pytest.mark.parametrize("width", [760, 350])
def test_figures_are_valid_files_that_keep_hostile_words_as_text(width):
    for root in everything(HOSTILE, width):
        assert root.tag == f"{SVG}svg" and root.find(f".//{SVG}b") is None
        assert root.get("width") == str(width) and root.get("aria-label")
    for root in everything("word", width)[:2]:
        assert "word" in "".join(root.itertext())


def test_empty_input_says_so():
    for root, says in [
        (plane(), "No vectors to draw."),
        (maps(), "No vectors to draw."),
        (maps(GramPanel("a", [], [], [])), "No vectors to draw."),
        (shares(), "No models to draw."),
        (shares(Sparsity(math.nan, [1], 1)), "No models to draw."),
    ]:
        assert [e.text for e in root.iter(f"{SVG}text")] == [says]


def test_vectors_point_where_they_should_on_one_scale():
    root = plane(Panel("one", [(1, 0), (0, 0.5)]), Panel("two", [(-1, -1), (math.nan, 0)]))
    drawn = having(root, "direction-line")
    ends = [tuple(float(e.get(k)) for k in ("x1", "y1", "x2", "y2")) for e in drawn]
    (x1, y1, x2, y2), (u1, v1, u2, v2), (a1, b1, a2, b2) = ends  # drawn from the last to the first
    unit = u2 - u1
    assert unit > 0 and v1 == v2  # (1, 0) goes right
    assert x1 == x2 and y1 - y2 == pytest.approx(unit / 2, abs=0.2)  # (0, 0.5) goes up by half of that
    assert a1 - a2 == pytest.approx(unit, abs=0.2) and b2 - b1 == pytest.approx(unit, abs=0.2)
    assert root.get("aria-label") == "directions (a.u.). one: 2 vectors; two: 2 vectors"


def test_heat_is_signed_and_bars_are_as_long_as_the_vectors():
    panel = GramPanel("p", [[1, -1], [-0.5, 0.01]], [1.0, 0.5], [0, 1])
    root = maps(panel)
    titled = {
        e.find(f"{SVG}title").text: e for e in root.iter(f"{SVG}rect") if e.find(f"{SVG}title") is not None
    }
    colour = {says: e.get("style") for says, e in titled.items()}
    assert colour["1 · 1 = 1.00"] == "fill:var(--p8)" and colour["1 · 2 = −1.00"] == "fill:var(--n8)"
    assert colour["2 · 1 = −0.50"] == "fill:var(--n4)"
    assert not any(says.startswith("2 · 2") for says in titled)  # next to nothing is left blank
    first, second = (
        titled[f"{i}: length {length}, superposition {shared}"]
        for i, length, shared in ((1, "1.00", "0.00"), (2, "0.50", "1.00"))
    )
    assert float(first.get("width")) == pytest.approx(2 * float(second.get("width")), rel=1e-3)
    assert (first.get("style"), second.get("style")) == ("fill:var(--p1)", "fill:var(--p8)")


def test_dots_stand_in_columns_over_the_lines_of_the_arrangements():
    root = shares(Sparsity(2, [0.5, 0.5, 2 / 3, math.nan], 0.4), Sparsity(0, [1.0], 1.0))
    dots = [(float(e.get("cx")), float(e.get("cy"))) for e in having(root, "neuron faint")][:-1]
    assert len(dots) == 4
    lines = [float(e.get("y1")) for e in having(root, "bar-line")]
    heights = [height for _, height in dots]
    assert heights.count(lines[0]) == 2 and heights.count(lines[1]) == 1  # digon twice, triangle once
    on_digon = [x for x, height in dots if height == lines[0]]
    assert on_digon[0] != on_digon[1] and abs(on_digon[0] - on_digon[1]) < 8
    (curve,) = having(root, "curve direction-line")
    assert len(curve.get("points").split()) == 2
    assert "D* goes from 1.00 to 0.40" in root.get("aria-label")
