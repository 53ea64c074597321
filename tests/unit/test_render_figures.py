"""The figures of experiments: marks where the numbers are, nothing where there are none, valid files."""

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from interp.render.data import KINDS, Estimate
from interp.render.dose_figure import Curve, dose_response
from interp.render.estimate_figure import Entry, EstimateRow, estimates
from interp.render.label_histogram import Group, label_histogram
from interp.render.scatter_figure import scatter, thinned
from interp.render.svg import fitted, limits

SVG = "{http://www.w3.org/2000/svg}"
NAN = math.nan
HOSTILE = "<b>&\"'</b>\x00\x1b\x0b"
DOSES = [
    (-1, Estimate(-0.5, -0.7, -0.3)),
    (0, Estimate(0.0, -0.1, 0.1)),
    (0.5, Estimate(0.4, 0.2, 0.6)),
    (4, Estimate(1.0, 0.8, 1.2)),
]


def parse(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)


def having(root: ElementTree.Element, css: str) -> list[ElementTree.Element]:
    return [e for e in root.iter() if set(css.split()) <= set(e.get("class", "").split())]


def corners(element: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in element.get("points", "").split())]


def dose(*curves: Curve, **options) -> ElementTree.Element:
    return parse(dose_response(curves, x_name="dose (z)", y_name="effect (nats)", standalone=True, **options))


def histogram(*groups: Group, **options) -> ElementTree.Element:
    return parse(label_histogram(groups, x_name="activation (a.u.)", standalone=True, **options))


def pairs(points, **options) -> ElementTree.Element:
    names = {"x_name": "exact (nats)", "y_name": "approximate (nats)"}
    return parse(scatter(points, kind="neuron", standalone=True, **(names | options)))


def dots(*rows: EstimateRow, **options) -> ElementTree.Element:
    return parse(estimates(rows, x_name="drop (nats)", standalone=True, **options))


def everything(word: str, width: int) -> list[ElementTree.Element]:
    return [
        dose(Curve(word, "neuron", DOSES, (0, 1)), marks=[(0, word)], width=width),
        histogram(Group(word, [0.0, 1.0, 2]), Group(word, [1], True), width=width),
        pairs([(1, 2.0), (-3, 0.5)], y_name=word, width=width),
        dots(EstimateRow(word, [Entry("latent", DOSES[0][1], word)]), names={"latent": word}, width=width),
    ]


@pytest.mark.parametrize("width", [620, 350])
def test_figures_are_valid_files_whose_axes_are_named(width):
    axes = [("dose (z)", "effect (nats)"), ("activation (a.u.)",), ("exact (nats)", "word")]
    for root, names in zip(everything("word", width), [*axes, ("drop (nats)",)], strict=True):
        assert root.tag == f"{SVG}svg"
        shown = [e.text for e in having(root, "name")]
        assert set(names) <= set(shown)
        assert all(name in root.get("aria-label", "") for name in names)
        assert "--paper:" in "".join(root.itertext())
        assert root.get("width") == str(width)


@pytest.mark.parametrize("width", [620, 350])
def test_hostile_words_stay_text_and_characters_that_xml_forbids_are_replaced(width):
    for root in everything(HOSTILE, width):
        assert root.find(f".//{SVG}b") is None
        assert "<b>&\"'</b>\ufffd\ufffd\ufffd" in "".join([*root.itertext(), root.get("aria-label", "")])


def test_aria_labels_say_what_is_seen():
    one, two, three, four = (root.get("aria-label") for root in everything("word", 620))
    assert one == "effect (nats) against dose (z). word: -0.5 at -1, 1 at 4"
    assert two == "activation (a.u.) by label. word: median 1 of 3 tokens; word: median 1 of 1 tokens"
    assert three == "word against exact (nats): 2 pairs, 50% of one sign"
    assert four == "drop (nats). word: word −0.5 (−0.7 to −0.3), word"


def test_empty_input_says_so():
    nothing = Estimate()
    for root, says in [
        (dose(), "No responses to draw."),
        (dose(Curve("a", "neuron", [(1, nothing), (2, Estimate(NAN))])), "No responses to draw."),
        (histogram(), "No activations to draw."),
        (histogram(Group("a", [NAN, math.inf])), "No activations to draw."),
        (pairs([]), "No pairs to draw."),
        (pairs([(NAN, 1.0)]), "No pairs to draw."),
        (dots(), "No estimates to draw."),
        (dots(EstimateRow("a", [])), "No estimates to draw."),
    ]:
        assert [e.text for e in root.iter(f"{SVG}text")] == [says]
        assert root.get("aria-label") == says


def test_band_goes_through_both_ends_of_every_interval():
    root = dose(Curve("a", "neuron", DOSES))
    (band,), (curve,) = having(root, "neuron band"), having(root, "curve neuron-line")
    outline, through = corners(band), corners(curve)
    assert len(outline) == 2 * len(DOSES) and len(through) == len(DOSES)
    upper, lower = outline[: len(DOSES)], outline[: len(DOSES) - 1 : -1]
    for above, below, (x, y) in zip(upper, lower, through, strict=True):
        assert above[0] == below[0] == x
        assert above[1] < y < below[1]
    ratio = (through[3][0] - through[2][0]) / (through[1][0] - through[0][0])
    assert ratio == pytest.approx(3.5, rel=0.01)  # doses stand at their values, not evenly


def test_no_interval_no_band_and_an_undefined_response_breaks_line_and_band():
    bare = dose(Curve("a", "neuron", [(x, Estimate(e.value)) for x, e in DOSES]))
    assert having(bare, "band") == []
    gap = [*DOSES[:2], (0.2, Estimate(NAN, NAN, NAN)), *DOSES[2:]]
    root = dose(Curve("a", "neuron", gap))
    assert [len(corners(e)) for e in having(root, "curve")] == [2, 2]
    assert [len(corners(e)) for e in having(root, "band")] == [4, 4]
    assert "NaN" not in ElementTree.tostring(root, "unicode") and "nan" not in root.get("aria-label")


def test_random_controls_lie_behind_and_share_one_label():
    controls = [Curve("random", "random", [(x, Estimate(0.1 * i)) for x, _ in DOSES]) for i in range(3)]
    for width in (620, 350):
        root = dose(Curve("set", "neuron", DOSES), *controls, width=width)
        lines = [e for e in having(root, "curve") if len(corners(e)) == len(DOSES)]
        kinds = ["random" if "random-line" in e.get("class", "") else "neuron" for e in lines]
        assert kinds == ["random"] * 3 + ["neuron"]
        assert sorted(e.text for e in having(root, "note")) == ["random", "set"]


def test_curves_of_one_kind_differ_in_their_dashes():
    root = dose(Curve("a", "neuron", DOSES), Curve("b", "neuron", DOSES), Curve("c", "latent", DOSES))
    assert [e.get("class", "").split()[1:] for e in having(root, "curve")] == [
        ["neuron-line"],
        ["neuron-line", "dash-1"],
        ["latent-line"],
    ]


def test_labels_of_curves_and_of_marks_do_not_cover_one_another():
    curves = [
        Curve(f"curve {i}", "neuron", [(0, Estimate(1.0)), (1, Estimate(2 + i / 100))]) for i in range(5)
    ]
    root = dose(*curves, marks=[(0.5, "zero"), (0.52, "mean"), (0.54, "median")])
    texts = {e.text: e for e in having(root, "note")}
    heights = sorted(float(texts[c.name].get("y")) for c in curves)
    assert all(b - a >= 14.9 for a, b in pairwise(heights))
    assert heights[0] > 0 and heights[-1] < 300
    assert len({texts[name].get("y") for name in ("zero", "mean", "median")}) == 3
    assert len(having(root, "bar-line")) == 3


def test_natural_range_is_a_strip_from_its_lower_to_its_upper_end():
    root = dose(Curve("a", "latent", DOSES, (0, 4)), marks=[(0, "zero"), (4, "four")])
    (strip,) = [e for e in having(root, "latent faint") if e.tag == f"{SVG}rect"]
    zero, four = (float(e.get("x1")) for e in having(root, "bar-line"))
    assert float(strip.get("x")) == zero
    assert float(strip.get("x")) + float(strip.get("width")) == pytest.approx(four, abs=0.11)


def test_a_natural_range_as_wide_as_the_axis_is_named_across_it():
    root = dose(Curve("a", "latent", DOSES, (-3, 6)))
    (says,) = [e for e in having(root, "note") if e.text == "natural range"]
    (strip,) = [e for e in having(root, "latent faint") if e.tag == f"{SVG}rect"]
    assert says.get("text-anchor") == "middle"
    assert 0 < float(says.get("x")) - float(strip.get("x")) < float(strip.get("width"))
    (curve,) = having(root, "curve")
    axis = having(root, "axis")[0]
    assert float(axis.get("x1")) + 1 < float(strip.get("x")) < corners(curve)[0][0]  # all of it is in sight


def test_histogram_scales_every_row_to_its_tallest_bin_and_puts_the_others_last_in_grey():
    many = [0.0] * 900 + [1.0] * 100
    root = histogram(Group("rest", many, True), Group("plural", [0.0, 0.0, 0.0, 1.0]), Group("none", []))
    plural, rest = having(root, "outline")
    assert "neuron" in plural.get("class", "").split() and "random" in rest.get("class", "").split()
    heights = [max(y for _, y in corners(e)) - min(y for _, y in corners(e)) for e in (plural, rest)]
    assert heights[0] == heights[1] == 32
    assert [e.text for e in having(root, "label")] == ["plural", "none", "rest"]
    notes = [e.text for e in having(root, "note")]
    assert [note for note in notes if note.startswith(("n ", "no "))] == ["n 4", "no tokens", "n 1,000"]
    assert [e.text for e in having(root, "tick") if e.text.endswith("%")] == ["75%", "90%"]
    assert any("heights scaled per row" in note for note in notes)


def test_histogram_shows_the_median_and_the_bins_of_single_tokens():
    root = histogram(Group("a", [0.0] * 10_000 + [1.0] * 3 + [NAN]), Group("b", [0.0, 1.0, 1.0]))
    outlines, medians = having(root, "outline"), having(root, "median")
    base = corners(outlines[0])[0][1]
    tail = [y for x, y in corners(outlines[0]) if x > 400 and y < base]
    assert tail and all(base - y == pytest.approx(1.5) for y in tail)
    assert float(medians[0].get("x1")) < float(medians[1].get("x1"))
    assert "n 10,003" in [e.text for e in having(root, "note")]


def test_scatter_lies_on_the_identity_line_where_both_agree():
    root = pairs([(-2, -2.0), (1, 1), (0, 0), (0.5, 4)])
    (identity,) = having(root, "bar-line")
    x1, y1, x2, y2 = (float(identity.get(name)) for name in ("x1", "y1", "x2", "y2"))
    for circle in list(root.iter(f"{SVG}circle"))[:3]:
        x, y = float(circle.get("cx")), float(circle.get("cy"))
        assert y == pytest.approx(y1 + (x - x1) * (y2 - y1) / (x2 - x1), abs=0.2)
    zero = list(root.iter(f"{SVG}circle"))[2]
    assert float(zero.get("cx")) == pytest.approx((x1 + x2) / 2, abs=0.1)  # limits are symmetric
    assert having(pairs([(1, 2)], identity=False), "bar-line") == []


def test_scatter_thins_always_alike_and_keeps_the_largest():
    points = [(math.sin(i), math.cos(i)) for i in range(6000)]
    kept = thinned(points)
    assert len(kept) == len(set(kept)) == 1500
    assert kept == thinned(points) and set(kept) <= set(points)
    largest = sorted(points, key=lambda p: -abs(p[0]))[:500]
    assert set(largest) <= set(kept)
    assert min(abs(x) for x, _ in kept) < 0.01  # the rest is a sample of all of them
    root = pairs([*points, (NAN, 0.0), (0, math.inf)])
    assert len(list(root.iter(f"{SVG}circle"))) == 1500
    says = [e.text for e in having(root, "note")]
    assert "1,500 of 6,000 pairs drawn" in says and "2 not defined" in says


def test_whiskers_reach_from_low_to_high_and_the_null_is_dashed():
    rows = [
        EstimateRow(
            "a", [Entry("neuron", Estimate(1.0, 0, 2), "n 12"), Entry("random", Estimate(0.0, -1, 1))]
        ),
        EstimateRow("b", [Entry("neuron", Estimate(0.5))]),
        EstimateRow("c", [Entry("neuron", Estimate(NAN))]),
    ]
    root = dots(*rows, names={"neuron": "top neurons", "random": "random neurons"})
    (null,) = having(root, "bar-line")
    first, second = having(root, "whisker")
    assert first.get("x1") == null.get("x1") == null.get("x2")
    assert float(second.get("x1")) < float(null.get("x1")) < float(second.get("x2")) < float(first.get("x2"))
    notes = [e.text for e in having(root, "note")]
    assert notes == ["top neurons", "random neurons", "no effect: 0", "n 12", "– not defined"]
    assert [e.text for e in having(root, "label")] == ["a", "b", "c"]
    assert having(dots(*rows, null=None), "bar-line") == []


def test_the_null_is_in_sight_however_far_the_estimates_are():
    root = dots(EstimateRow("a", [Entry("neuron", Estimate(9.0, 8.5, 9.5))]), null=1)
    (null,), (whisker,), (axis,) = (having(root, css) for css in ("bar-line", "whisker", "axis"))
    assert (
        float(axis.get("x1")) + 5
        < float(null.get("x1"))
        < float(whisker.get("x1"))
        < float(whisker.get("x2"))
    )
    assert "no effect: 1" in [e.text for e in having(root, "note")]


def test_key_names_the_kinds_that_are_drawn_and_wraps_on_phones():
    row = EstimateRow("a", [Entry(kind, Estimate(1.0)) for kind in KINDS])
    wide = {e.text: e.get("y") for e in having(dots(row, width=620), "note")}
    phone = {e.text: e.get("y") for e in having(dots(row, width=350), "note")}
    names = ["neurons", "latents", "directions", "random directions"]
    assert set(names) <= set(wide) and len({wide[name] for name in names}) == 1
    assert len({phone[name] for name in names}) == 2
    only = [e.text for e in having(dots(EstimateRow("a", [Entry("latent", Estimate(1.0))])), "note")]
    assert only == ["latents", "no effect: 0"]


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


def test_words_are_cut_where_they_do_not_fit():
    assert fitted("short", 100) == "short"
    assert fitted("a very long name", 50) == "a very…"
    assert fitted("word", 0) == "…"
