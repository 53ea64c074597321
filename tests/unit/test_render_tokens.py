"""The token renderer: escaping, heat that can be read, white space, pills, and cutting around the peak."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.render.palette import BASE, MINIMUM_CONTRAST, THEMES, contrast, heat
from interp.render.tokens import HeatScale, TokenView, TokenWindow, render_tokens, token_css


class Text(HTMLParser):
    """Collects text and tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags = "", []
        self.feed(str(html))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def render(tokens, values=None, **keywords):
    values = values if values is not None else [0.0] * len(tokens)
    scale = HeatScale.over([values], signed=keywords.pop("signed", False))
    options = {k: keywords.pop(k) for k in ("special_ids", "radius", "titles") if k in keywords}
    return Text(render_tokens(TokenWindow(tokens, values, **keywords), scale, **options))


@given(st.lists(st.text(), min_size=1, max_size=8))
def test_no_token_can_become_markup(tokens):
    page = render(tokens, token_ids=list(range(len(tokens))), special_ids={0})
    assert {tag for tag, _ in page.tags} <= {"div", "span", "i"}
    assert all(set(attributes) <= {"class", "title"} for _, attributes in page.tags)


def test_script_token_is_shown_as_text():
    html = render_tokens(
        TokenWindow(["<script>alert(1)</script>", '" onload="x'], [1.0, 1.0]), HeatScale(1.0)
    )
    assert "<script" not in html
    assert '" onload' not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


@pytest.mark.parametrize("theme", THEMES)
def test_text_is_readable_at_every_heat(theme):
    colours = BASE[theme]
    for name, background in heat(theme).items():
        assert contrast(colours["ink"], background) >= MINIMUM_CONTRAST, name
    for name in ("ink", "muted", "accent", "a", "b", "c", "null"):
        for background in ("paper", "sheet"):
            assert contrast(colours[name], colours[background]) >= MINIMUM_CONTRAST, (name, background)


def test_contrast_matches_the_known_extremes():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )  # the well-known grey that just fails


def test_heat_rises_with_the_value_and_the_sign_picks_the_hue():
    signed = HeatScale.over([[-2.0, 4.0]], signed=True)
    assert signed.css_classes([-4.0, -2.0, 0.0, 2.0, 4.0, 9.0]) == [
        "n8",
        "n4",
        "",
        "p4",
        "p8",
        "p8",
    ]
    unsigned = HeatScale.over([[-9.0, 4.0]])
    assert unsigned.top == 4.0
    assert unsigned.css_classes([-4.0, 0.0, 2.0, float("nan")]) == ["", "", "p4", ""]
    assert HeatScale.over([[0.0, 0.0]]).css_classes([0.0]) == [""]


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_scale_is_monotone(a, b):
    scale = HeatScale(top=50.0, signed=True)
    assert (scale.level(a) <= scale.level(b)) or a > b


def test_legend_carries_the_numbers_of_the_scale():
    legend = Text(HeatScale(top=3.14159, signed=True).legend()).text
    assert "−3.1" in legend and "3.1" in legend
    assert "−" not in Text(HeatScale(top=3.14159).legend()).text


def test_white_space_is_drawn():
    assert render([" the", "a b", "x\n", "  ", ""]).text == "·thea bx↵··∅"


def test_title_gives_value_id_and_position_and_the_peak_is_marked():
    page = render(["a", "b"], [0.25, 1.0], token_ids=[7, 8], start=30, peak=1)
    spans = [attributes for tag, attributes in page.tags if tag == "span"]
    assert spans[0]["title"] == "0.250 · id 7 · position 30"
    assert spans[1] == {"class": "p8 peak", "title": "1 · id 8 · position 31"}


def test_special_tokens_are_pills_without_heat():
    page = render(["<bos>", "a"], [5.0, 5.0], token_ids=[0, 3], special_ids={0})
    assert [attributes["class"] for tag, attributes in page.tags if tag == "span"] == ["pill", "p8"]


@given(st.integers(1, 80), st.integers(0, 20), st.data())
def test_cutting_keeps_every_token_once_and_the_peak_in_sight(length, radius, data):
    peak = data.draw(st.integers(0, length - 1))
    tokens = [f"<{i}>" for i in range(length)]
    page = render(tokens, peak=peak, radius=radius)
    assert page.text.replace("…", "") == "".join(tokens)
    hidden = [attributes["title"] for tag, attributes in page.tags if tag == "summary"]
    assert sum(int(title.split()[0]) for title in hidden) == max(0, length - 2 * radius - 1)
    html = str(render_tokens(TokenWindow(tokens, [0.0] * length, peak=peak), HeatScale(1.0), radius=radius))
    outside = html.split("<details")[0] + "".join(
        part.split("</details>")[1] for part in html.split("<details")[1:]
    )
    assert f"&lt;{peak}&gt;" in outside


def test_mismatched_lengths_are_refused():
    with pytest.raises(ValueError, match="2 tokens"):
        render(["a", "b"], [1.0])
    with pytest.raises(ValueError, match="peak 2"):
        render(["a", "b"], peak=2)


def test_notebook_view_brings_its_own_colours():
    html = TokenView([TokenWindow(["a"], [1.0])], HeatScale(1.0))._repr_html_()
    assert "--p8:" in html and 'class="p8"' in html


def test_pieces_of_words_stand_without_gaps_and_whole_words_do_not():
    assert ("div", {"class": "tokens pieces"}) in render([" pre", "fix", "\n   "]).tags
    assert ("div", {"class": "tokens"}) in render(["the", "king", "."]).tags
    assert ".tokens.pieces span:not(.pill){padding:0" in token_css()
