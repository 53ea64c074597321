"""The report: one file, no requests, everything escaped, and titles that say what the numbers say."""

import base64
import csv
import dataclasses
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from experiments.common.populations.data import ConceptScore, DescribedPopulation, Difference, Exemplar
from experiments.common.populations.view import concepts_found, score_title
from experiments.quickstart.page import QuickstartPage
from experiments.quickstart.wording import concept_duel, concept_title, opening
from interp.statistics.estimate import Estimate
from tests.unit.render_sample import sample_report

VOID = {"meta", "link", "input", "br"}
REQUESTING = {"src", "href", "srcset", "action", "poster", "data", "xlink:href"}


class Outline(HTMLParser):
    """Checks that tags balance and keeps what could cause a request."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.links, self.ids, self.labels, self.text = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in REQUESTING:
                self.links.append(value)
            if name == "id":
                self.ids.append(value)
            if name == "for":
                self.labels.append(value)
            assert not name.startswith("on"), (tag, name)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    return QuickstartPage(sample_report()).html()


def test_page_is_balanced_labelled_and_makes_no_request(page):
    outline = Outline(page)
    assert all(link.startswith(("#", "data:")) for link in outline.links)
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.labels) == {"q", "kind"}
    for asking in ("http:", "https:", "@import", "url(", "fetch(", "XMLHttpRequest", "import("):
        assert asking not in page, asking


def test_big_page_stays_under_five_megabytes_and_keeps_all_exemplars():
    data = sample_report(per_kind=75, windows=12, length=64)
    page = QuickstartPage(data).html()
    assert len(page.encode()) < 5_000_000
    table = page.split('id="all"')[1].split("</table>")[0]
    assert table.count('<div class="tokens">') == 150 * 12


def test_page_too_big_for_its_exemplars_says_what_it_left_out():
    data = sample_report(per_kind=2, windows=8, length=40)
    loud = dataclasses.replace(data.features[0], exemplars=data.features[0].exemplars * 60)
    page = QuickstartPage(dataclasses.replace(data, features=[loud, *data.features[1:]])).html(
        largest=300_000
    )
    assert len(page.encode()) < 300_000
    assert "Only peaks show their value. At most 3 exemplars of each band are shown." in page


def test_same_data_same_bytes(page):
    assert QuickstartPage(sample_report()).html() == page


def test_everything_from_outside_is_escaped():
    data = sample_report(per_kind=2)
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    window = Exemplar([evil, "a"], [1.0, 0.5], evil, [1, 2], 0, evil)
    feature = dataclasses.replace(
        data.features[0], key=evil, description=evil, concept=evil, exemplars=[window]
    )
    data = dataclasses.replace(
        data,
        features=[feature, *data.features[1:]],
        question=evil,
        limits=[evil],
        timing={evil: 1.0},
        run=dataclasses.replace(data.run, name=evil, config=evil, command=evil, manifest={evil: evil}),
        subject=dataclasses.replace(data.subject, name=evil, note=evil),
        corpus=dataclasses.replace(data.corpus, name=evil, note=evil),
        concepts=[dataclasses.replace(c, concept=evil, feature=evil) for c in data.concepts[:4]],
        populations=[dataclasses.replace(p, note=evil) for p in data.populations],
    )
    page = QuickstartPage(data).html()
    assert "<img" not in page
    assert page.count("<script>") == 1
    Outline(page)  # also refuses attributes that begin with "on"


def test_guesses_are_grey_and_say_so():
    data = sample_report(per_kind=3)
    low = dataclasses.replace(data.features[0], both=Estimate(0.1, 0.0, 0.2), null=Estimate(0.0, -0.2, 0.12))
    fine = dataclasses.replace(data.features[1], both=Estimate(0.4, 0.3, 0.5), null=Estimate(0.0, -0.2, 0.12))
    nothing = dataclasses.replace(data.features[2], both=Estimate())
    assert [f.is_guess for f in (low, fine, nothing)] == [True, False, True]
    page = QuickstartPage(dataclasses.replace(data, features=[low, fine, nothing])).html()
    table = page.split('id="all"')[1].split("</table>")[0]
    assert table.count("class=guess") == 2
    assert table.count("under its null") == 1
    assert table.count("no defined score") == 1


def test_downloads_hold_the_numbers(page):
    data = sample_report()
    tables = {}
    for name, payload in re.findall(
        r'download="([^"]+)" href="data:text/csv;charset=utf-8;base64,([^"]+)"', page
    ):
        tables[name] = list(csv.DictReader(io.StringIO(base64.b64decode(payload).decode())))
    features = {row["feature"]: row for row in tables["quickstart-features.csv"]}
    assert len(features) == len(data.features)
    for feature in data.features:
        row = features[feature.key]
        assert row["description"] == feature.text
        assert row["score"] == ("" if feature.both.point is None else repr(feature.both.value))
    assert len(tables["quickstart-concepts.csv"]) == len(data.concepts)
    assert [row["kind"] for row in tables["quickstart-populations.csv"]] == ["neuron", "latent"]
    assert set(tables) >= {"quickstart-splits.csv", "quickstart-timing.csv", "quickstart-sae.csv"}


def test_page_without_latents_concepts_or_sae_still_stands():
    data = sample_report(per_kind=3)
    neurons = [f for f in data.features if f.kind == "neuron"]
    for features in (neurons, []):
        bare = dataclasses.replace(
            data,
            populations=data.populations[:1] if features else [],
            features=features,
            concepts=[],
            sae=None,
            difference=None,
            timing={},
        )
        Outline(QuickstartPage(bare).html())


def population(kind, mean, low, high, null=0.02):
    estimate = Estimate(mean, low, high)
    return DescribedPopulation(
        kind, 100, 50, estimate, estimate, estimate, Estimate(null, null - 0.05, null + 0.05)
    )


@pytest.mark.parametrize(
    ("neurons", "latents", "gap", "says"),
    [
        (0.40, 0.60, (0.20, 0.1, 0.3), "Descriptions of latents predict better than those of neurons"),
        (0.60, 0.40, (-0.20, -0.3, -0.1), "Descriptions of neurons predict better than those of latents"),
        (0.45, 0.50, (0.05, -0.02, 0.12), "No difference seen between neurons and latents"),
        (0.01, 0.02, (0.01, 0.005, 0.02), "Neither kind of description predicts better than shuffled ones"),
    ],
)
def test_score_title_is_fair_to_whoever_wins(neurons, latents, gap, says):
    one = population("neuron", neurons, neurons - 0.05, neurons + 0.05)
    other = population("latent", latents, latents - 0.05, latents + 0.05)
    title = score_title(one, other, Difference(Estimate(*gap), False, 1000))
    assert title.startswith(says)
    assert f"latents {latents:.2f}, neurons {neurons:.2f}" in title


def test_score_title_claims_nothing_without_an_interval():
    one, other = population("neuron", 0.2, 0.1, 0.3), population("latent", 0.9, 0.8, 1.0)
    assert "no interval" in score_title(one, other, Difference(Estimate(0.7), False, 1000))
    assert "no interval" in score_title(one, other, None)
    assert "better" not in score_title(None, other, None)


def concepts(neurons, latents, total=37):
    def rows(method, found):
        return [
            ConceptScore(f"c{i}", method, 0.95 if i < found else 0.7, 0.93 if i < found else 0.65, 0.97)
            for i in range(total)
        ]

    random = [ConceptScore(f"c{i}", "random", 0.7, 0.68, 0.72) for i in range(total)]
    return [*rows("neurons", neurons), *rows("latents", latents), *random]


@pytest.mark.parametrize(
    ("neurons", "latents", "title"),
    [
        (20, 31, "Latents find 31 of 37 concepts, neurons 20"),
        (31, 20, "Neurons find 31 of 37 concepts, latents 20"),
        (29, 31, "Latents find 31 of 37 concepts, neurons 29: no clear difference"),
        (26, 26, "Neurons and latents each find 26 of 37 concepts"),
        (0, 0, "Neither neurons nor latents find any of 37 concepts"),
    ],
)
def test_concept_title_is_fair_to_whoever_wins(neurons, latents, title):
    assert concept_title(concepts(neurons, latents), 0.9) == title


def test_a_concept_that_random_directions_find_too_is_not_found():
    scores = [
        ConceptScore("easy", "latents", 0.97, 0.94, 0.99),
        ConceptScore("easy", "random", 0.96, 0.93, 0.98),
        ConceptScore("hard", "latents", 0.97, 0.94, 0.99),
        ConceptScore("hard", "random", 0.60, 0.50, 0.70),
    ]
    assert concepts_found(scores, "latents", 0.9) == {"hard"}


def test_duel_counts_who_is_ahead_and_whose_intervals_lie_apart():
    scores = [
        ConceptScore("a", "latents", 0.9, 0.88, 0.92),
        ConceptScore("a", "neurons", 0.8, 0.78, 0.82),
        ConceptScore("b", "latents", 0.8, 0.7, 0.9),
        ConceptScore("b", "neurons", 0.85, 0.75, 0.95),
    ]
    assert concept_duel(scores) == (
        "Concept by concept, the best latent is ahead for 1 (1 with intervals apart), "
        "the best neuron for 1 (0)."
    )


def test_opening_is_three_sentences_with_the_result_last():
    sentences = opening(sample_report())
    assert len(sentences) == 3
    assert all(len(re.findall(r"\.(?=\s|$)", s)) == 1 for s in sentences)
    assert "+0.18 (95% interval +0.11 to +0.25)" in sentences[2]


def test_the_figures_of_a_report_name_their_axes():
    figures = {figure.name: figure for figure in QuickstartPage(sample_report()).figures()}
    says = {
        "scores": "Pearson r",
        "score_distributions": "Pearson r",
        "concepts": "AUROC",
        "explained variance (share)": "tokens seen",
    }
    for name, axis in says.items():
        assert axis in " ".join(ElementTree.fromstring(figures[name].svg()).itertext())


def test_every_scored_feature_has_a_dot_that_says_its_description():
    data = sample_report()
    figure = next(figure for figure in QuickstartPage(data).figures() if figure.name == "scores")
    titles = [title.text for title in ElementTree.fromstring(figure.svg()).iter("title")]
    scored = [f for f in data.features if f.both.point is not None]
    assert sum(any(f.key in title for title in titles) for f in scored) == len(scored)


def test_the_spread_of_activations_is_drawn_only_where_it_is_known(page):
    assert page.count('class="profile') == sum(len(f.quantiles) > 1 for f in sample_report().features)
    assert "thick: middle half, then middle 98%" in page
