"""The charts of pages: marks where the numbers are, nothing where there are none, both widths, files."""

import math
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from experiments.common.populations.data import KINDS
from interp.errors import UserError
from interp.render.charts.curves import Curve, curve_chart
from interp.render.charts.distributions import Group, histogram_chart, swarm_chart
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.charts.heat import Heat, heat_chart
from interp.render.charts.parts import apart, cut, limits, wrapped
from interp.render.charts.scatter import scatter_chart, thinned_pairs
from interp.render.figure import PHONE, Draw, Figure
from interp.render.palette import BASE, MINIMUM_CONTRAST, OF_KIND, ROLES, THEMES, contrast
from interp.render.theme import SHAPES
from interp.statistics.estimate import Estimate

NAN = math.nan
WIDE = 620
HOSTILE = "<b>&\"'</b>\x00\x1b\x0b"
DOSES = [
    (-1, Estimate(-0.5, -0.7, -0.3)),
    (0, Estimate(0.0, -0.1, 0.1)),
    (0.5, Estimate(0.4, 0.2, 0.6)),
    (4, Estimate(1.0, 0.8, 1.2)),
]


def svg(draw: Draw, width: int = WIDE) -> ElementTree.Element:
    return ElementTree.fromstring(Figure("name", "title", "caption", draw).svg(width))


def texts(root: ElementTree.Element) -> list[str]:
    return [" ".join(e.itertext()) for e in root.iter("text")]


def marks(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """What is drawn of a layer."""
    return [mark for group in root.iter("g") if group.get("class") == name for mark in group]


def place(element: ElementTree.Element) -> tuple[float, float]:
    x, y = re.match(r"translate\(([-\d.]+),([-\d.]+)\)", element.get("transform", "translate(0,0)")).groups()
    return float(x), float(y)


def outline(element: ElementTree.Element) -> list[tuple[float, float]]:
    """The corners of a path of straight lines."""
    return [(float(x), float(y)) for x, y in re.findall(r"([-\d.]+),([-\d.]+)", element.get("d", ""))]


def dose(*lines: Curve, **options) -> Draw:
    return curve_chart(lines, x_name="dose (z)", y_name="effect (nats)", **options)


def histogram(*groups: Group, **options) -> Draw:
    return histogram_chart(groups, x_name="activation (a.u.)", **options)


def pairs(points, **options) -> Draw:
    return scatter_chart(
        points, role="a", **({"x_name": "exact (nats)", "y_name": "estimate (nats)"} | options)
    )


def rows(*rows: EstimateRow, **options) -> Draw:
    return estimate_chart(rows, x_name="drop (nats)", **options)


def everything(word: str) -> list[Draw]:
    return [
        dose(Curve(word, "a", DOSES, (0, 1)), marks=[(0, word)]),
        histogram(Group(word, [0.0, 1.0, 2]), Group(word, [1], "null")),
        swarm_chart([Group(word, [0.0, 1.0], "a", DOSES[0][1], DOSES[1][1], [word, word])], x_name=word),
        pairs([(1, 2.0), (-3, 0.5)], y_name=word),
        rows(EstimateRow(word, [Entry("b", DOSES[0][1], word)]), names={"b": word}),
        heat_chart(Heat([word], [word], [[1.0]], texts=[[word]]), x_name=word, y_name=word, value_name=word),
    ]


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_charts_fit_their_width_name_their_axes_and_say_what_is_seen(width):
    named = [
        ("dose (z)", "effect (nats)"),
        ("activation (a.u.)",),
        ("word",),
        ("exact (nats)",),
        ("drop (nats)",),
    ]
    for draw, names in zip(everything("word"), [*named, ("word",)], strict=True):
        root = svg(draw, width)
        assert (root.get("width"), root.get("role"), root.get("class")) == (str(width), "img", "figure")
        assert all(any(name in text for text in texts(root)) for name in names)
        assert all(name in root.get("aria-label") for name in names)


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_hostile_words_stay_text_and_characters_that_xml_forbids_are_replaced(width):
    for draw in everything(HOSTILE):
        root = svg(draw, width)
        assert not list(root.iter("b"))
        assert "<b>&\"'</b>\ufffd\ufffd\ufffd" in "".join([*root.itertext(), root.get("aria-label")])


def test_a_drawing_takes_its_colours_from_the_page_and_refers_to_nothing():
    for draw in everything("word"):
        drawn = Figure("name", "title", "caption", draw).svg()
        assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', drawn)) <= {
            "none", "transparent", *re.findall(r"var\(--\w+\)", drawn)}  # fmt: skip
        for word in ("url(", "http", "<script", "<style", "font-family", "id="):
            assert word not in drawn
        assert Figure("name", "title", "caption", draw).svg() == drawn  # the same bytes


def test_aria_labels_say_the_numbers():
    one, two, _, four, five, _ = (svg(draw).get("aria-label") for draw in everything("word"))
    assert one == "effect (nats) against dose (z). word: -0.5 at -1, 1 at 4"
    assert two == "activation (a.u.) by group. word: 1.00; word: 1.00"
    assert four == "word against exact (nats): 2 pairs, 50% of one sign"
    assert five == "drop (nats). word: word −0.5 (−0.7 to −0.3), word"


def test_marks_say_their_number_on_hover():
    titles = [e.text for e in svg(dose(Curve("a", "a", DOSES))).iter("title")]
    assert titles[:2] == ["a at −1: −0.5 (−0.7 to −0.3)", "a at 0: 0.0 (−0.1 to 0.1)"]


def test_empty_input_says_so():
    for draw, says in [
        (dose(), "No values to draw."),
        (dose(Curve("a", "a", [(1, Estimate()), (2, Estimate(NAN))])), "No values to draw."),
        (histogram(), "No values to draw."),
        (histogram(Group("a", [NAN, math.inf])), "No values to draw."),
        (swarm_chart([Group("a", [NAN])], x_name="x"), "No values to draw."),
        (pairs([]), "No pairs to draw."),
        (pairs([(NAN, 1.0)]), "No pairs to draw."),
        (rows(), "No estimates to draw."),
        (rows(EstimateRow("a", [])), "No estimates to draw."),
        (heat_chart(Heat([], [], []), x_name="x", y_name="y", value_name="v"), "No cells to draw."),
    ]:
        assert (texts(svg(draw)), svg(draw).get("aria-label")) == ([says], says)


def test_files_open_and_have_real_colours(tmp_path):
    figure = Figure("dose", "title", "caption", dose(Curve("a", "b", DOSES)))
    heads = {".svg": b"<svg", ".png": b"\x89PNG", ".pdf": b"%PDF", ".json": b"{"}
    for theme in THEMES:
        for ending, head in heads.items():
            content = figure.save(tmp_path / f"{theme}{ending}", theme).read_bytes()
            assert content.startswith(head) and b"var(--" not in content
            if ending in (".svg", ".json"):
                assert BASE[theme]["b"].encode() in content and BASE[theme]["paper"].encode() in content
    assert figure.spec()["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
    assert "<svg" in figure._repr_html_() and "var(--" not in figure._repr_html_()


def test_a_name_with_another_ending_and_a_folder_that_is_not_there_are_told(tmp_path):
    figure = Figure("dose", "title", "caption", dose(Curve("a", "b", DOSES)))
    with pytest.raises(UserError, match=r"\.svg, \.png, \.pdf, \.json"):
        figure.save(tmp_path / "x.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        figure.save(Path(tmp_path / "file" / "x.svg"))


def test_band_goes_through_both_ends_of_every_interval():
    root = svg(dose(Curve("a", "a", DOSES)))
    (band,), (curve,) = marks(root, "bands"), marks(root, "curves")
    edges, through = outline(band), outline(curve)
    assert len(edges) == 2 * len(DOSES) and len(through) == len(DOSES)
    for above, below, (x, y) in zip(edges[: len(DOSES)], edges[: len(DOSES) - 1 : -1], through, strict=True):
        assert above[0] == pytest.approx(x) and below[0] == pytest.approx(x)
        assert min(above[1], below[1]) < y < max(above[1], below[1])
    ratio = (through[3][0] - through[2][0]) / (through[1][0] - through[0][0])
    assert ratio == pytest.approx(3.5, rel=0.01)  # doses stand at their values, not evenly


def test_no_interval_no_band_and_an_undefined_value_breaks_line_and_band():
    bare = svg(dose(Curve("a", "a", [(x, Estimate(e.value)) for x, e in DOSES])))
    assert [outline(band) for band in marks(bare, "bands")] in ([], [[]])
    gap = [*DOSES[:2], (0.2, Estimate(NAN, NAN, NAN)), *DOSES[2:]]
    root = svg(dose(Curve("a", "a", gap)))
    assert [e.get("d").count("M") for e in marks(root, "curves")] == [2]
    assert [e.get("d").count("M") for e in marks(root, "bands")] == [2]
    assert "NaN" not in ElementTree.tostring(root, "unicode") and "nan" not in root.get("aria-label")


def test_nulls_lie_under_the_others_and_share_one_label():
    controls = [Curve("random", "null", [(x, Estimate(0.1 * i)) for x, _ in DOSES]) for i in range(3)]
    for width in (WIDE, PHONE):
        root = svg(dose(Curve("set", "a", DOSES), *controls), width)
        assert [e.get("stroke") for e in marks(root, "curves")] == ["var(--null)"] * 3 + ["var(--a)"]
        assert sorted(e.text for e in marks(root, "names")) == ["random", "set"]


def test_curves_of_one_role_differ_in_their_dashes():
    root = svg(dose(Curve("a", "a", DOSES), Curve("b", "a", DOSES), Curve("c", "b", DOSES)))
    assert [e.get("stroke-dasharray") for e in marks(root, "curves")] == ["1,0", "8,4", "1,0"]


def test_labels_of_curves_and_of_marks_do_not_cover_one_another():
    lines = [Curve(f"curve {i}", "a", [(0, Estimate(1.0)), (1, Estimate(2 + i / 100))]) for i in range(5)]
    draw = dose(*lines, marks=[(0.5, "zero"), (0.52, "mean"), (0.54, "median")])
    for width in (WIDE, PHONE):
        root = svg(draw, width)
        heights = sorted(place(e)[1] for e in marks(root, "names"))
        assert len(heights) == 5 and all(b - a >= 14.9 for a, b in pairwise(heights))
        notes = [place(e)[1] for e in marks(root, "notes")]
        assert len(set(notes)) == 3 == len(marks(root, "references"))
    assert min(place(e)[1] for e in marks(svg(draw), "names")) > -20


def test_a_curve_is_made_of_the_columns_of_a_table():
    frame = pd.DataFrame(
        {"layer": [1, 0], "right": [0.5, NAN], "right_low": [0.4, NAN], "right_high": [0.6, NAN]}
    )
    curve = Curve.of("a", "c", frame, "layer", "right")
    assert curve.known() == [(1, 0.5)] and curve.drawn()[1][1].ends == (0.4, 0.6)


def test_natural_range_is_a_strip_from_its_lower_to_its_upper_end():
    root = svg(dose(Curve("a", "b", DOSES, (0, 4)), marks=[(0, "zero"), (4, "four")]))
    (strip,) = [e for e in root.iter("path") if e.get("opacity") == "0.38"]
    zero, four = (place(e)[0] for e in marks(root, "references"))
    start, length = (float(x) for x in re.match(r"M([\d.]+),[\d.]+h([\d.]+)", strip.get("d")).groups())
    assert (start, start + length) == pytest.approx((zero, four), abs=0.6)
    assert strip.find("title").text == "a: natural range 0 to 4" and "natural range" in texts(root)


def test_histogram_scales_every_row_to_its_tallest_bin_and_puts_nulls_last_in_grey():
    many = [0.0] * 900 + [1.0] * 100
    root = svg(
        histogram(Group("rest", many, "null"), Group("plural", [0.0, 0.0, 0.0, 1.0]), Group("none", []))
    )
    filled = [e for e in root.iter("path") if e.get("fill-opacity") == "0.3"]
    assert [e.get("fill") for e in filled] == ["var(--a)", "var(--null)"]
    tops = [min(y for _, y in outline(e)) - max(y for _, y in outline(e)) for e in filled]
    assert tops == pytest.approx([-32, -32])
    assert [e.text for e in marks(root, "labels")] == ["plural", "none", "rest"]
    found = texts(root)
    assert [t for t in found if t.startswith(("n ", "no "))] == ["n 4", "no tokens", "n 1,000"]
    assert [t for t in found if t.endswith("%")] == ["75%", "90%"]
    assert any("heights scaled per row" in t and "median" in t for t in found)


def test_histogram_counts_every_finite_value_once_and_shows_the_mean_with_its_interval():
    group = Group(
        "a", [0.0] * 10_000 + [1.0] * 3 + [NAN], mean=Estimate(0.5, 0.25, 0.75), null=Estimate(0, 0, 1)
    )
    root = svg(histogram(group))
    assert "n 10,003" in texts(root)
    (mean,), (whisker,), (null,) = (marks(root, name) for name in ("middles", "whiskers", "nulls"))
    assert mean.find("title").text == "0.5 (0.2 to 0.8)"
    assert null.find("title").text.startswith("null: ")
    start = place(whisker)[0]
    assert start < place(mean)[0] < start + float(whisker.get("x2"))


def test_swarm_has_a_dot_a_value_and_none_covers_another():
    values = [0.1 + 0.001 * (i % 3) for i in range(9)] + [0.9, NAN]
    root = svg(
        swarm_chart(
            [Group("a", values, "b", Estimate(0.2, 0.1, 0.3), notes=[str(i) for i in range(11)])], x_name="r"
        )
    )
    dots = marks(root, "dots")
    assert len(dots) == 10 and len({place(dot) for dot in dots}) == 10
    assert "9: 0.900" in [dot.find("title").text for dot in dots]
    assert "10 values, mean 0.2 (0.1 to 0.3)" in texts(root)


def test_scatter_lies_on_the_identity_line_where_both_agree():
    root = svg(pairs([(-2, -2.0), (1, 1), (0, 0), (0.5, 4)]), 460)
    dots = [place(dot) for dot in marks(root, "points")]
    (line,) = [e for e in root.iter("path") if e.get("stroke-dasharray") == "3,3"]
    (x1, y1), (x2, y2) = outline(line)
    for x, y in dots[:3]:
        assert y == pytest.approx(y1 + (x - x1) * (y2 - y1) / (x2 - x1), abs=0.2)
    assert dots[2][0] == pytest.approx((x1 + x2) / 2, abs=0.1)  # limits are symmetric
    assert "3,3" not in ElementTree.tostring(svg(pairs([(1, 2)], identity=False)), "unicode")


def test_scatter_thins_always_alike_and_keeps_the_largest():
    points = [(math.sin(i), math.cos(i)) for i in range(6000)]
    kept = thinned_pairs(points)
    assert len(kept) == len(set(kept)) == 1500
    assert kept == thinned_pairs(points) and set(kept) <= set(points)
    assert set(sorted(points, key=lambda p: -abs(p[0]))[:500]) <= set(kept)
    assert min(abs(x) for x, _ in kept) < 0.01  # the rest is a sample of all of them
    root = svg(pairs([*points, (NAN, 0.0), (0, math.inf)]))
    assert len(marks(root, "points")) == 1500
    said = " ".join(texts(root))
    assert "1,500 of 6,000 pairs drawn" in said and "2 not defined" in said


def test_whiskers_reach_from_low_to_high_and_the_null_is_dashed():
    drawn = [
        EstimateRow("a", [Entry("a", Estimate(1.0, 0, 2), "n 12"), Entry("null", Estimate(0.0, -1, 1))]),
        EstimateRow("b", [Entry("a", Estimate(0.5))]),
        EstimateRow("c", [Entry("a", Estimate(NAN))]),
    ]
    root = svg(rows(*drawn, names={"a": "top neurons", "null": "random neurons"}))
    (null,) = marks(root, "references")
    first, second = (e for e in marks(root, "whiskers") if e.get("x2"))
    assert place(first)[0] == pytest.approx(place(null)[0])
    assert place(second)[0] < place(null)[0] < place(second)[0] + float(second.get("x2"))
    found = texts(root)
    assert {"top neurons", "random neurons", "no effect: 0", "n 12", "– not defined"} <= set(found)
    assert [e.text for e in marks(root, "labels")] == ["a", "b", "c"]
    assert len(marks(root, "points")) == 3
    assert marks(svg(rows(*drawn, null=None)), "references") == []


def test_the_null_is_in_sight_however_far_the_estimates_are():
    root = svg(rows(EstimateRow("a", [Entry("a", Estimate(9.0, 8.5, 9.5))]), null=1))
    (null,), (whisker,) = marks(root, "references"), marks(root, "whiskers")
    assert 5 < place(null)[0] < place(whisker)[0]
    assert "no effect: 1" in texts(root)


def test_key_names_the_roles_that_are_drawn():
    names = {"a": "neurons", "b": "latents", "c": "directions", "null": "random directions"}
    row = EstimateRow("row", [Entry(role, Estimate(1.0)) for role in ROLES])
    for width in (WIDE, PHONE):
        assert set(names.values()) <= set(texts(svg(rows(row, names=names), width)))
    only = set(texts(svg(rows(EstimateRow("row", [Entry("b", Estimate(1.0))]), names=names))))
    assert "latents" in only and not {"neurons", "directions", "random directions"} & only


def test_heat_is_signed_and_texts_that_do_not_fit_are_cut_or_left_out():
    heat = Heat(["one", "two"], ["x", "y"], [[1, -1], [0.01, -0.5]], signed=True, marked=[(1, 0)],
                texts=[["word", "a very long word indeed"], ["", ""]])  # fmt: skip
    root = svg(heat_chart(heat, x_name="column", y_name="row", value_name="share"))
    cells = {e.find("title").text: e.get("fill") for e in marks(root, "cells")}
    assert cells["one, x: word 1"] == "var(--p8)" and cells["two, y: −0.500"] == "var(--n4)"
    assert cells["two, x: 0.0100"] == "var(--paper)"  # next to nothing has no colour
    assert len(marks(root, "marked")) == 1
    assert "word" in texts(root) and any(t.startswith("a very") and t.endswith("…") for t in texts(root))
    wide = Heat(["r"], [f"column {i}" for i in range(40)], [[0.5] * 40])
    assert any(
        "more columns" in t
        for t in texts(svg(heat_chart(wide, x_name="c", y_name="r", value_name="v"), PHONE))
    )


def test_every_role_has_its_shape_and_a_readable_colour_and_every_kind_its_role():
    assert len(set(SHAPES.values())) == len(ROLES) and [OF_KIND[kind] for kind in KINDS] == list(ROLES)
    for theme in THEMES:
        for role in ROLES:
            for background in ("paper", "sheet"):
                assert contrast(BASE[theme][role], BASE[theme][background]) >= MINIMUM_CONTRAST, (theme, role)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.6, 1.6], 0.6, 1.6),
        ([0.4, 1.4], 0.0, 1.4),
        ([-1.4, -0.4, NAN], -1.4, 0.0),
        ([-1, 3, math.inf], -1.0, 3.0),
    ],
)
def test_limits_show_zero_where_it_is_near(values, low, high):
    assert limits(values, 0) == pytest.approx((low, high))


def test_limits_of_one_value_leave_room_on_both_sides():
    assert limits([3])[0] < 3 < limits([3])[1]
    assert limits([0])[0] < 0 < limits([0])[1]
    assert limits([])[0] < limits([])[1]


def test_words_are_cut_or_wrapped_where_they_do_not_fit_and_places_are_moved_apart():
    assert cut("short", 100) == "short"
    assert cut("a very long name", 42) == "a very…"
    assert cut("word", 0) == "…"
    assert wrapped("a name of many words", 70) == "a name of\nmany words"
    assert wrapped("a name of very many words", 70, 2) == "a name of\nvery many…"
    assert apart([3, 1, 1], 2) == [5, 1, 3]
