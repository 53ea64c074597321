"""The page of `compare`: whole, without requests, fair to every population, leaner when it grows."""

import base64
import csv
import dataclasses
import io
import re

import pytest

from experiments.common.populations.data import DescribedPopulation, Difference
from experiments.compare.page import (
    ComparePage,
    MatchedPair,
    PairSummary,
    opening_of,
    pairs_title,
    scores_title,
)
from interp.statistics.estimate import Estimate
from tests.unit.render_sample import sample_report
from tests.unit.test_render_report import Outline


def sample(per_kind: int = 12, windows: int = 6, gap: float = 0.1) -> ComparePage:
    data = sample_report(per_kind=per_kind, windows=windows)
    neurons = [f for f in data.features if f.kind == "neuron"]
    latents = [f for f in data.features if f.kind == "latent"]
    band = Estimate(0.05, 0.0, 0.1)
    random = DescribedPopulation(
        "random", 400, 4, *[Estimate(0.3, 0.2, 0.4)] * 3, band, 0, "random", "random directions"
    )
    pairs = [
        MatchedPair("latents", latent, neuron, 0.5, 0.4 - 0.01 * i, 0.1)
        for i, (latent, neuron) in enumerate(zip(latents, neurons, strict=True))
    ]
    around = Estimate(gap, gap - 0.05, gap + 0.05)
    summary = PairSummary("latents", Estimate(0.4, 0.3, 0.5), Estimate(0.1, 0, 0.2), Estimate(0.3, 0.2, 0.4),
                          around, per_kind, 0, per_kind - 2, 1)  # fmt: skip
    return ComparePage(
        dataclasses.replace(
            data,
            populations=[*data.populations, random],
            features=[*data.features, dataclasses.replace(neurons[0], key="mlp.1/5-", population="matched")],
            difference=Difference(around, True, 1000),
        ),
        [("neurons", "latents", around), ("neurons", "random directions", Estimate(-0.1, -0.2, 0.0))],
        pairs,
        [summary],
        {"neurons": 3, "latents": 5},
    )


def test_the_page_is_balanced_labelled_and_makes_no_request() -> None:
    page = sample().html()
    outline = Outline(page)
    assert all(link.startswith(("#", "data:")) for link in outline.links)
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.labels) == {"q", "kind", "pq", "pk"}
    for asking in ("http:", "https:", "@import", "url(", "fetch(", "XMLHttpRequest", "import("):
        assert asking not in page, asking
    assert page == sample().html()
    listed = page.split('id="matched"')[1].split("</table>")[0]
    assert listed.count("<tbody") == 12 and listed.count('<div class="pair">') == 12
    assert "random directions" in page and "<option>matched</option>" in page


def test_everything_from_outside_is_escaped() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    page = sample(2)
    pair = page.pairs[0]
    latent = dataclasses.replace(pair.latent, key=evil, description=evil)
    pairs = [dataclasses.replace(pair, latent=latent, population=evil)]
    html = dataclasses.replace(page, pairs=pairs).html()
    assert "<img" not in html and html.count("<script>") == 1
    Outline(html)


def test_the_download_of_the_pairs_has_all_numbers() -> None:
    data = sample()
    found = re.search(r'-pairs.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', data.html())
    assert found is not None
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(found[1]).decode())))
    assert [row["latent"] for row in rows] == [pair.latent.key for pair in data.pairs]
    for row, pair in zip(rows, data.pairs, strict=True):
        assert row["difference"] == ("" if pair.difference is None else repr(pair.difference))


def test_a_page_that_grows_keeps_fewer_exemplars_and_says_so() -> None:
    page = sample(30, windows=2).html(largest=200_000)
    assert "Exemplars are kept for 60 of 61 descriptions" in page
    listed = page.split('id="matched"')[1].split("</table>")[0]
    assert listed.count("<tbody") == 30


@pytest.mark.parametrize(
    ("gap", "says"),
    [(0.1, "latents score +0.10 (+0.05 to +0.15) within pairs"), (0.01, "no clear difference")],
)
def test_titles_say_what_the_numbers_say(gap: float, says: str) -> None:
    data = sample(gap=gap)
    assert says in pairs_title(data) and "random direction 0.1" in pairs_title(data)
    assert "random directions 0.3" in scores_title(data)
    assert len(opening_of(data)) == 3
    several = dataclasses.replace(
        data,
        data=dataclasses.replace(
            data.data,
            populations=[*data.data.populations, dataclasses.replace(data.data.populations[1], name="wide")],
        ),
    )
    assert "wide 0.60" in scores_title(several)
