"""The generic page: one file, no requests, everything escaped, tables that can be read back."""

import base64
import csv
import dataclasses
import io
import math
import re

import pandas as pd
import pytest
from pydantic import BaseModel

from experiments.common.facts import run_facts, step_seconds
from interp.render.charts.curves import Curve, curve_chart
from interp.render.charts.distributions import Group, histogram_chart
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.charts.parts import nothing
from interp.render.charts.scatter import scatter_chart
from interp.render.figure import Figure
from interp.render.page import Column, Page, Section, Table, render_page
from interp.statistics.estimate import Estimate
from interp.track.progress import silent
from interp.track.run import open_run
from tests.unit.render_sample import sample_report
from tests.unit.test_render_report import Outline

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'"


def figure(word: str = "effect") -> Figure:
    rows = [EstimateRow(word, [Entry("a", Estimate(0.5, 0.4, 0.6), word)])]
    return Figure("effect", word, word, estimate_chart(rows, x_name=word, names={"a": word}))


def table(word: str = "effect") -> Table:
    columns = [Column(word, word), Column("gain", "logits"), Column("share", "", 1), Column("n")]
    return Table(
        word,
        word,
        columns,
        [
            [word, Estimate(0.5, 0.4, 0.6), 0.25, 1200],
            ["none", None, None, None],
            ["not a number", Estimate(math.nan, math.nan, math.nan), math.nan, 3],
            ["no interval", Estimate(-0.125), -0.55, -4],
        ],
    )


def sample_page(word: str = "effect") -> Page:
    sample = sample_report(per_kind=1)
    return Page(
        question=f"Does it cause {word}?",
        opening=["It was asked.", "It was measured.", f"It does: {word}."],
        headline=figure(word),
        sections=[Section(word, [word], [figure(word)], [table(word)]), Section("Two", (), [figure()] * 2)],
        words=[(word, word)],
        limits=[word],
        subject=sample.subject,
        run=sample.run,
        timing={word: 12.5},
    )


@pytest.fixture(scope="module")
def html() -> str:
    return render_page(sample_page())


def downloads(html: str) -> dict[str, list[dict[str, str]]]:
    found = re.findall(r'download="([^"]+)" href="data:text/csv;charset=utf-8;base64,([^"]+)"', html)
    return {
        name: list(csv.DictReader(io.StringIO(base64.b64decode(payload).decode()))) for name, payload in found
    }


def cells(html: str, row: str) -> list[tuple[str, str]]:
    """The cells of the first row that begins with that text, as (attributes, content)."""
    line = next(part for part in html.split("<tr>") if part.startswith(f"<th scope=row>{row}</th>"))
    return re.findall(r"<td([^>]*)>(.*?)</td>", line)


def test_page_is_balanced_and_makes_no_request(html):
    outline = Outline(html)
    assert outline.links and all(link.startswith(("#", "data:")) for link in outline.links)
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert re.findall(r"<link[^>]*>", html) == ['<link rel="icon" href="data:,">']
    for asking in ("http:", "https:", "@import", "url(", "fetch(", "XMLHttpRequest", "import("):
        assert asking not in html, asking


def test_same_data_same_bytes(html):
    assert render_page(sample_page()) == html


def test_the_verdict_alone_is_strong(html):
    assert re.findall(r"<strong>(.*?)</strong>", html) == ["It does: effect."]
    assert "<title>quickstart: It does: effect.</title>" in html


def test_everything_from_outside_is_escaped():
    page = sample_page(EVIL)
    run = dataclasses.replace(
        page.run, name=EVIL, config=EVIL, command=EVIL, date=EVIL, manifest={EVIL: EVIL}
    )
    subject = dataclasses.replace(page.subject, name=EVIL, note=EVIL, architecture=EVIL)
    curves = [Curve(EVIL, "a", [(0, Estimate(1.0, 0.5, 1.5)), (1, Estimate(2.0))], (0, 1))]
    drawings = [
        Figure("curves", "", "", curve_chart(curves, x_name=EVIL, y_name=EVIL, marks=[(0, EVIL)])),
        Figure("histogram", "", "", histogram_chart([Group(EVIL, [1.0])], x_name=EVIL)),
        Figure("scatter", "", "", scatter_chart([(1, 2)], role="b", x_name=EVIL, y_name=EVIL)),
    ]
    sections = [*page.sections, Section(EVIL, [EVIL], drawings)]
    html = render_page(dataclasses.replace(page, run=run, subject=subject, sections=sections))
    Outline(html)  # also refuses attributes that begin with "on"
    assert "<img" not in html
    assert html.count("<script>") == 1 == html.count("</script>")
    assert html.count("&lt;img src=x") > 40


def test_figures_are_drawn_for_wide_screens_and_for_phones():
    one = Figure("one", "Seen", "On what", nothing("Nothing."), 480)
    html = render_page(dataclasses.replace(sample_page(), headline=one, sections=[]))
    wide = html.index('<div class="wide"><svg class="figure"')
    assert html.index("Seen") < wide < html.index('<div class="narrow"><svg class="figure"')
    assert 'width="480"' in html and 'width="350"' in html


def test_a_page_gives_its_figures_by_name_and_one_that_is_shown_twice_once():
    page = sample_page()
    other = dataclasses.replace(page.headline, name="other")
    page = dataclasses.replace(page, sections=[Section("s", figures=[page.headline, other])])
    assert [figure.name for figure in page.figures()] == ["effect", "other"]


def test_download_holds_value_and_ends_of_every_estimate(html):
    rows = downloads(html)["quickstart-effect.csv"]
    assert list(rows[0]) == ["effect", "gain", "gain_low", "gain_high", "share", "n"]
    assert [list(row.values()) for row in rows] == [
        ["effect", "0.5", "0.4", "0.6", "0.25", "1200"],
        ["none", "", "", "", "", ""],
        ["not a number", "", "", "", "", "3"],
        ["no interval", "-0.125", "", "", "-0.55", "-4"],
    ]
    named = Table("t", "t", [Column("name"), Column("gain")], [["a", Estimate(0.5, 0.4, 0.6)], ["b", 2]])
    page = dataclasses.replace(sample_page(), sections=[Section("s", tables=[named])])
    assert downloads(render_page(page))["quickstart-t.csv"] == [
        {"name": "a", "gain": "0.5", "gain_low": "0.4", "gain_high": "0.6"},
        {"name": "b", "gain": "2", "gain_low": "", "gain_high": ""},
    ]


def test_download_keeps_texts_that_csv_must_quote_and_leaves_out_what_is_missing():
    texts = ["a,b", 'say "x"', "two\nlines", "größe", "a\rb", "c\u2028d"]
    rows = [[text, value] for text, value in zip(texts, [1.5, None, math.nan, -2, 0, 0], strict=True)]
    one = Table("odd names", "t", [Column("text"), Column("x")], rows)
    html = render_page(dataclasses.replace(sample_page(), sections=[Section("s", tables=[one])]))
    read = downloads(html)["quickstart-odd-names.csv"]
    assert [row["text"] for row in read] == texts
    assert [row["x"] for row in read] == ["1.5", "", "", "-2", "0", "0"]


def test_numbers_stand_right_and_show_their_interval(html):
    assert cells(html, "effect") == [
        (' class=n data-sort="0.5"', "0.5<small>0.4 to 0.6</small>"),
        (' class=n data-sort="0.25"', "0.2"),
        (' class=n data-sort="1200"', "1,200"),
    ]
    assert cells(html, "no interval") == [
        (' class=n data-sort="-0.125"', "−0.12"),
        (' class=n data-sort="-0.55"', "−0.6"),
        (' class=n data-sort="-4"', "−4"),
    ]


def test_missing_numbers_are_dashes_that_sort_last(html):
    assert cells(html, "none") == [(' class=n data-sort=""', "–")] * 3
    assert cells(html, "not a number")[:2] == [(' class=n data-sort=""', "–")] * 2


def test_a_table_of_a_dataframe_takes_three_columns_as_one_estimate() -> None:
    frame = pd.DataFrame(
        {
            "how": ["add", "nothing"],
            "right": [0.5, math.nan],
            "right_low": [0.4, math.nan],
            "right_high": [0.6, math.nan],
            "n": [12, 13],
            "kept": [True, False],
        }
    )
    made = Table.of(
        frame, ["how", Column("share right", places=2, of="right"), "n", "kept"], "results", "all"
    )
    assert [column.name for column in made.columns] == ["how", "share right", "n", "kept"]
    assert made.rows[0] == ["add", Estimate(0.5, 0.4, 0.6), 12, "yes"]
    assert made.rows[1][1].point is None and made.rows[1][1].ends is None and made.rows[1][3] == "no"
    csv_rows = list(csv.reader(io.StringIO(base64.b64decode(made.csv().partition(",")[2]).decode())))
    assert csv_rows[0] == ["how", "share right", "share right_low", "share right_high", "n", "kept"]


def test_a_column_with_a_text_is_not_a_column_of_numbers():
    one = Table("t", "t", [Column("a"), Column("b"), Column("c")], [["x", 1, None], ["y", "two", None]])
    assert one.numeric() == [False, False, False]


def test_long_tables_are_folded_and_a_table_without_rows_says_so():
    columns = [Column("name"), Column("value")]
    long = Table("many", "All of them", columns, [[f"r{i}", i] for i in range(16)])
    short = dataclasses.replace(long, name="few", rows=long.rows[:15])
    bare = Table("bare", "Nothing", columns, [])
    html = render_page(
        dataclasses.replace(sample_page(), sections=[Section("s", tables=[long, short, bare])])
    )
    assert "<summary>many (16 rows)</summary>" in html
    assert "<summary>few" not in html
    assert html.count("No rows.") == 1


def test_too_big_page_cuts_its_tables_and_says_so_but_not_their_downloads():
    rows = [[f"row {i}", i] for i in range(600)]
    long = Table("many", "All", [Column("name"), Column("value")], rows)
    page = dataclasses.replace(sample_page(), sections=[Section("s", tables=[long])])
    roomy, tight = render_page(page), render_page(page, largest=len(render_page(page)) - 1)
    assert "The first 500 of 600 rows; the CSV has all." in roomy and "<th scope=row>row 499</th>" in roomy
    assert (
        "The first 100 of 600 rows; the CSV has all." in tight and "<th scope=row>row 100</th>" not in tight
    )
    assert [row["value"] for row in downloads(tight)["quickstart-many.csv"]] == [str(i) for i in range(600)]


def test_wide_tables_stand_below_the_figure_and_narrow_ones_beside_it():
    narrow = Table("narrow", "n", [Column("a")], [["x"]])
    wide = Table("wide", "w", [Column(str(i)) for i in range(5)], [list(range(5))])
    one = Section("s", figures=[figure()], tables=[wide, narrow])
    assert (one.beside, one.below) == ([narrow], [wide])
    several = Section("s", figures=[figure()] * 2, tables=[wide, narrow])
    assert (several.beside, several.below) == ([], [wide, narrow])


def test_page_without_evidence_says_so():
    html = render_page(dataclasses.replace(sample_page(), sections=[], words=[], limits=[], timing={}))
    Outline(html)
    assert "No evidence was handed to this page." in html
    assert "<h3>Limits</h3>" not in html and "<h3>Time</h3>" not in html


def test_the_page_says_on_what_and_how_it_was_run(html):
    assert "1,647,744" in html and "LlamaForCausalLM" in html
    assert "<code>interp run configs/quickstart.yaml</code>, seed 0" in html
    assert downloads(html)["quickstart-timing.csv"] == [{"step": "effect", "seconds": "12.5"}]
    assert {row["name"] for row in downloads(html)["quickstart-manifest.csv"]} >= {"torch", "cpu"}


def test_mistakes_of_the_caller_are_told():
    with pytest.raises(ValueError, match="'t': 2 columns, a row of 1 cells"):
        Table("t", "t", [Column("a"), Column("b")], [["x"]])
    with pytest.raises(ValueError, match="3 sentences, not 2"):
        dataclasses.replace(sample_page(), opening=["One.", "Two."])


class Seeded(BaseModel):
    seed: int = 7


def test_facts_of_a_run_are_its_command_its_seed_and_the_seconds_of_its_steps_in_order(tmp_path):
    with open_run(Seeded(), "facts", tmp_path / "my runs", progress=silent()) as run:
        for name in ("second", "first"):
            run.step(name, lambda step: None)
        facts = run_facts(run)
        seconds = step_seconds(run)
    assert (facts.name, facts.seed, facts.config) == ("facts", 7, "seed: 7\n")
    assert facts.command == f"interp run '{tmp_path}/my runs/facts/config.yaml'"
    assert set(facts.manifest) == {"python", "versions", "git", "hardware"}
    assert list(seconds) == ["second", "first"] and all(took >= 0 for took in seconds.values())
