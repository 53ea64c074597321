"""The page Compare: its numbers are those of the run, of `interp.compare` and of the stores' own rows."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from interp import MlpNeurons, Subject
from interp.compare.concepts import ConceptRecovery, mean_difference
from interp.inspection.compared_runs import compare_in_run, run_choices
from interp.inspection.compared_stores import read_population, store_choices
from interp.inspection.comparison import compare, default_pair, difference_of_means
from interp.inspection.comparison_figures import MOST_DOTS, comparison_figures
from interp.monitor.bench import Bench
from interp.monitor.knowledge import Knowledge
from interp.statistics.estimate import Estimate, mean_interval
from interp.store.rows import DescriptionRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.store import Store
from interp.web.app import make_app
from tests.command_line import process

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = [
    "corpus.documents=500",
    "wandb.mode=disabled",
    "mining.sampled_tokens=512",
    "baselines=[random]",
    "sae={n_latents: 96, training_tokens: 8192, buffer_tokens: 4096, evaluate_every_steps: 0}",
    "describe={sample: 6, random_windows: 8, nulls: 8}",
]
EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">'
Json = dict[str, Any]


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    done = process("run", str(CONFIGS / "compare.yaml"), "--runs-dir", str(folder), *SMALL)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def metrics(runs_dir: Path) -> Json:
    found: Json = json.loads((runs_dir / "compare" / "metrics.json").read_text())
    return found


def described(place: str, number: int, explainer: str, value: float | None, text: str = "") -> DescriptionRow:
    """A description with a score; the null of every third feature is higher than the score."""
    guess = number % 3 == 0
    null = (0.05 * (number % 5), -0.1, 2.0 if guess else 0.1)
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    scores = (
        ScoreRow("simulation", "known", "report", value, low, high, *null, 20),
        ScoreRow("simulation", "known", "select", 0.99),
        ScoreRow("detection", "judge", "report", 0.5 + 0.01 * number),
    )
    return DescriptionRow(text or f"{place} {number}", explainer, scores=scores)


def put(path: Path, places: dict[str, list[tuple[str, float]]], n: int = 12) -> Store:
    """A store of spaces, each with explainers and by how much their scores are shifted."""
    rng = np.random.default_rng(7)
    store = Store(path)
    for place, explainers in places.items():
        store.put_space(SpaceRow("world", place, "mlp_post.0", 0, 100, place.startswith("mlp")))
        base = rng.uniform(0.1, 0.6, n)
        rows = []
        for number in range(n):
            told = [
                described(
                    place, number, name, None if number == 5 else float(base[number] + shift + 0.02 * number)
                )
                for name, shift in explainers
            ]
            rows.append(FeatureRow(place, number, 1 if number % 2 else -1, descriptions=tuple(told)))
        store.put("world", rows)
    return store


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Store]:
    folder = tmp_path_factory.mktemp("stores")
    both = [("patterns", 0.0), ("model", 0.1)]
    first = put(
        folder / "first.sqlite", {"mlp.0": both, "mlp.1": both, "sae.resid_post.4": [("patterns", 0.3)]}
    )
    second = put(folder / "second.sqlite", {"mlp.0": [("patterns", -0.05)]})
    first.put("world", [FeatureRow("mlp.0", 50, 1, descriptions=(described("", 1, "patterns", 0.5, EVIL),))])
    return [first, second]


@pytest.fixture(scope="module")
def client(subject: Subject, stores: list[Store], runs_dir: Path) -> TestClient:
    bench = Bench(subject, Knowledge("world", stores), [MlpNeurons(subject, 0)])
    app = make_app(bench, runs_dir=runs_dir)
    return TestClient(app, base_url="http://127.0.0.1:8787", raise_server_exceptions=False)


def said(answer: Any, status: int = 200) -> Json:
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


def asked(client: TestClient, a: str, b: str, **more: str) -> Json:
    return said(client.get("/api/compare", params={"a": a, "b": b, **more}))


def scores(store: Store, explainer: str, *places: str) -> dict[str, ScoreRow]:
    """The scores of the report split, from the store's own rows."""
    return {
        feature.key: score
        for feature in store.features("world")
        if feature.space in places
        for one in feature.descriptions
        if one.explainer == explainer
        for score in one.scores
        if (score.kind, score.split) == ("simulation", "report")
    }


def values(rows: dict[str, ScoreRow]) -> np.ndarray:
    return np.array([row.value for row in rows.values() if row.value is not None])


def of(metrics: Json, name: str) -> list[float]:
    return [metrics[f"{name}{end}"] for end in ("", "_low", "_high")]


def ends(found: Json) -> list[float]:
    return [found[name] for name in ("value", "low", "high")]


def test_every_pair_of_a_run_has_the_numbers_of_the_run(
    client: TestClient, runs_dir: Path, metrics: Json
) -> None:
    table = pd.read_parquet(runs_dir / "compare" / "tables" / "features.parquet")
    names = ["neurons", "latents", "random_directions"]
    for one, two in combinations(names, 2):
        found = asked(client, f"run/compare/{one}", f"run/compare/{two}")
        np.testing.assert_array_equal(ends(found["estimate"]), of(metrics, f"difference/{two}_minus_{one}"))
        for side, name in zip(found["sides"], (one, two), strict=True):
            np.testing.assert_array_equal(ends(side["estimate"]), of(metrics, f"score/{name}/both"))
            own = table[table["population"] == name.replace("_", " ")]
            assert side["described"] == metrics[f"score/{name}/described"] == len(own)
            assert side["undefined"] == metrics[f"score/{name}/undefined"]
            assert side["above"] == int((own["both_value"] > own["both_null_high"]).sum())
            null = metrics[f"score/{name}/null"]
            assert side["null"].replace("−", "-").startswith(f"{null:.2f}"[:4]) or abs(null) < 0.01
        assert found["figures"][0]["svg"].startswith("<svg") and not found["paired"]


def test_exchanged_the_difference_is_the_opposite(client: TestClient, metrics: Json) -> None:
    found = asked(client, "run/compare/latents", "run/compare/neurons")
    value, low, high = of(metrics, "difference/latents_minus_neurons")
    assert ends(found["estimate"]) == [-value, -high, -low]
    assert [side["name"] for side in found["sides"]] == ["latents", "neurons"]


def test_the_pairs_and_concepts_are_those_of_the_run(
    client: TestClient, runs_dir: Path, metrics: Json
) -> None:
    found = asked(client, "run/compare/neurons", "run/compare/latents")
    facts = dict(found["matches"]["facts"])
    scored, ahead = metrics["pairs/latents/scored"], metrics["pairs/latents/latent_ahead"]
    assert facts["Pairs with two scores"] == f"{scored}, the latent ahead in {ahead}"
    pairs = pd.read_parquet(runs_dir / "compare" / "tables" / "pairs.parquet").dropna(subset=["neuron"])
    best = pairs.sort_values("correlation", ascending=False, kind="stable").iloc[0]
    top = found["matches"]["rows"][0]
    assert (top["latent"], top["neuron"], top["correlation"]) == tuple(
        best[["latent", "neuron", "correlation"]]
    )
    concepts = found["concepts"]
    assert concepts["found"] == [metrics[f"concepts/{one}/found"] for one in ("neurons", "latents")]
    assert len(concepts["rows"]) == metrics["concepts/tested"]
    chosen = {one.choice.name: one for one in run_choices(runs_dir)}
    made = compare_in_run(chosen["neurons"], chosen["latents"])
    assert made.concepts is not None and made.matches is not None
    np.testing.assert_array_equal(made.concepts.difference, of(metrics, "concepts/latents_minus_neurons"))
    np.testing.assert_array_equal(made.matches.difference, of(metrics, "pairs/latents/latent_minus_neuron"))
    np.testing.assert_array_equal(made.matches.correlation, of(metrics, "match/latents/correlation"))
    rows = pd.read_parquet(runs_dir / "compare" / "tables" / "concepts.parquet").to_dict("records")
    recoveries = [ConceptRecovery(**{str(key): value for key, value in row.items()}) for row in rows]
    turned = compare_in_run(chosen["random directions"], chosen["latents"])
    assert turned.concepts is not None and turned.matches is None
    assert turned.concepts.difference == mean_difference(recoveries, "latents", "random directions", seed=0)
    titles = [one["title"] for one in found["figures"]]
    assert any(f"{ahead} of {scored} matched pairs" in title for title in titles)
    assert any("concepts" in title for title in titles)


def test_populations_of_a_store_are_apart_unless_they_share_features(
    client: TestClient, stores: list[Store]
) -> None:
    found = asked(client, "0/neurons/patterns", "0/sae.resid_post.4/patterns")
    one = scores(stores[0], "patterns", "mlp.0", "mlp.1")
    two = scores(stores[0], "patterns", "sae.resid_post.4")
    first, second = values(one), values(two)
    assert (len(first), len(second)) == (23, 11) and not found["paired"]
    for side, rows, own in zip(found["sides"], (one, two), (first, second), strict=True):
        assert (side["scored"], side["undefined"]) == (len(own), len(rows) - len(own))
        np.testing.assert_array_equal(ends(side["estimate"]), mean_interval(own, 0))
        known = [(row.value, row.null_high) for row in rows.values()]
        above = [value > null for value, null in known if value is not None and null is not None]
        assert side["above"] == sum(above)
    value, low, high = ends(found["estimate"])
    assert value == second.mean() - first.mean()
    rng = np.random.default_rng(3)
    drawn = rng.choice(second, (20_000, len(second))).mean(1) - rng.choice(first, (20_000, len(first))).mean(
        1
    )
    np.testing.assert_allclose([low, high], np.quantile(drawn, [0.025, 0.975]), atol=0.01)
    assert (
        found["sentence"].startswith("Latents of resid_post.4")
        and "are described better than" in found["sentence"]
    )
    assert found["linked"] and [side["kind"] for side in found["sides"]] == ["neuron", "latent"]


def test_explainers_and_stores_are_compared_within_features(client: TestClient, stores: list[Store]) -> None:
    for a, b, theirs in (
        ("0/mlp.0/patterns", "0/mlp.0/model", (stores[0], "model")),
        ("0/mlp.0/patterns", "1/mlp.0/patterns", (stores[1], "patterns")),
    ):
        found = asked(client, a, b)
        one, two = scores(stores[0], "patterns", "mlp.0"), scores(*theirs, "mlp.0")
        both = {key: (row.value, two[key].value) for key, row in one.items() if key in two}
        found_gaps = {key: b - a for key, (a, b) in both.items() if a is not None and b is not None}
        gaps = np.array([*found_gaps.values()])
        assert found["paired"] and found["n_pairs"] == len(gaps) == 11
        np.testing.assert_allclose(ends(found["estimate"]), [*mean_interval(gaps, 0)], atol=1e-12)
        assert found["ahead"] == int((gaps > 0).sum())
        top = found["pairs"][0]
        assert abs(top["gap"]) == pytest.approx(np.abs(gaps).max())
        assert top["gap"] == pytest.approx(found_gaps[top["key"]])
        assert "within 11 features" in found["sentence"]


def test_another_score_is_read_from_the_report_split(client: TestClient, stores: list[Store]) -> None:
    found = asked(client, "0/mlp.0/patterns", "0/mlp.1/patterns", score="detection")
    numbers = np.array([*range(12), 1])  # the last feature repeats number 1
    assert found["sides"][0]["estimate"]["value"] == pytest.approx(0.5 + 0.01 * numbers.mean())
    assert found["sides"][0]["null"] == "–"
    measures = {tuple(one["measures"]) for one in said(client.get("/api/compare/populations"))["populations"]}
    assert measures == {("detection", "simulation"), ("simulation",)}


def test_the_lists_hold_every_population_and_begin_with_neurons_and_latents(client: TestClient) -> None:
    told = said(client.get("/api/compare/populations"))
    keys = [one["key"] for one in told["populations"]]
    assert {"0/neurons/patterns", "0/mlp.1/model", "1/mlp.0/patterns", "run/compare/latents"} <= set(keys)
    assert len(keys) == len(set(keys)) and "run/compare/matched_neurons" not in keys
    assert told["pair"][0].startswith("0/") and told["pair"][1] == "0/sae.resid_post.4/patterns"
    of_run = said(client.get("/api/compare/populations", params={"run": "compare"}))["pair"]
    assert of_run == ["run/compare/neurons", "run/compare/latents"]
    names = {one["key"]: one["name"] for one in told["populations"]}
    assert names["0/mlp.1/model"] == "neurons of layer 1, by model (first.sqlite)"


@pytest.mark.parametrize(
    ("a", "b", "more", "status", "words"),
    [
        ("0/mlp.0/patterns", "0/mlp.0/patterns", {}, 400, "in common"),
        ("0/neurons/patterns", "0/mlp.0/patterns", {}, 400, "in common"),
        ("0/mlp.0/patterns", "9/mlp.0/patterns", {}, 404, "no population"),
        ("run/../latents", "run/compare/latents", {}, 404, "no population"),
        ("0/mlp.0/patterns", "run/compare/latents", {"score": "detection"}, 400, "no score"),
        ("0/mlp.0/patterns", "0/mlp.1/patterns", {"width": "huge"}, 400, "width"),
        ("0/mlp.0/patterns", "", {}, 400, "b"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_sentence(
    client: TestClient, a: str, b: str, more: dict[str, str], status: int, words: str
) -> None:
    for path in ("/api/compare", "/compare.csv"):
        error = said(client.get(path, params={"a": a, "b": b, **more}), status)["error"]
        assert words in error["thing"] and error["fix"]


def test_all_scores_are_a_download(client: TestClient, stores: list[Store]) -> None:
    asked_for = {"a": "0/mlp.0/patterns", "b": "run/compare/latents"}
    answer = client.get("/compare.csv", params=asked_for)
    assert answer.headers["content-disposition"].startswith("attachment")
    lines = answer.text.split("\r\n")
    assert lines[0] == "population,feature,value,low,high,null_mean,null_high,text"
    one = scores(stores[0], "patterns", "mlp.0")
    own = {line.split(",")[-7]: line.split(",")[-6] for line in lines[1:] if "neurons of layer 0" in line}
    assert len(own) == len(one) == 13
    for key, row in one.items():
        assert own[key] == ("" if row.value is None else repr(row.value))


def test_texts_of_descriptions_stay_texts(client: TestClient) -> None:
    found = asked(client, "0/mlp.0/patterns", "0/mlp.1/patterns")
    drawn = found["figures"][0]["svg"]
    assert "alert(1)" in drawn and "<script" not in drawn and "<img" not in drawn
    best = [one["text"] for side in found["sides"] for one in side["best"]]
    assert EVIL in best


def test_the_page_is_small_and_its_state_is_checked(client: TestClient) -> None:
    page = client.get("/compare", params={"a": "x", "run": "compare"})
    assert page.status_code == 200 and len(page.content) < 20_000
    assert client.get("/compare?other=1").status_code == 400
    for name in ("compare_page.js", "compare_page.css"):
        assert client.get(f"/static/{name}").status_code == 200
    answer = client.get("/api/compare", params={"a": "0/mlp.0/patterns", "b": "0/mlp.1/patterns"})
    assert len(answer.content) < 300_000


def test_answers_follow_what_changes_in_a_store(subject: Subject, tmp_path: Path) -> None:
    store = put(tmp_path / "s.sqlite", {"mlp.0": [("patterns", 0.0)], "mlp.1": [("patterns", 0.0)]})
    bench = Bench(subject, Knowledge("world", [store]), [])
    client = TestClient(make_app(bench, runs_dir=tmp_path), base_url="http://127.0.0.1:8787")
    before = asked(client, "0/mlp.0/patterns", "0/mlp.1/patterns")
    assert before == asked(client, "0/mlp.0/patterns", "0/mlp.1/patterns")
    store.put("world", [FeatureRow("mlp.0", 70, 1, descriptions=(described("", 1, "patterns", 0.9),))])
    after = asked(client, "0/mlp.0/patterns", "0/mlp.1/patterns")
    assert after["sides"][0]["scored"] == before["sides"][0]["scored"] + 1


def test_with_nothing_to_compare_the_lists_are_empty(subject: Subject, tmp_path: Path) -> None:
    app = make_app(Bench(subject, Knowledge("world"), []), runs_dir=tmp_path / "none")
    with TestClient(app, base_url="http://127.0.0.1:8787") as client:
        assert said(client.get("/api/compare/populations")) == {"populations": [], "pair": None}


def test_many_descriptions_are_drawn_as_histograms(tmp_path: Path) -> None:
    n = MOST_DOTS
    store = put(tmp_path / "many.sqlite", {"mlp.0": [("patterns", 0.0)], "mlp.1": [("patterns", 0.0)]}, n)
    chosen = {one.choice.key: one for one in store_choices([store], "world")}
    assert default_pair([one.choice for one in chosen.values()]) == ("0/mlp.0/patterns", "0/mlp.1/patterns")
    first, second = (read_population(chosen[f"0/mlp.{i}/patterns"], "world", "simulation") for i in (0, 1))
    (figure,) = comparison_figures(compare(first, second, "simulation"))
    assert figure.svg().count("<title>") < 20


def test_a_side_with_little_has_no_interval() -> None:
    few, more, none = np.array([0.5]), np.array([0.1, 0.2]), np.array([])
    found = difference_of_means(few, more, 0)
    assert found.value == pytest.approx(-0.35) and found.ends is None
    assert difference_of_means(none, more, 0).point is None
    assert Estimate(*difference_of_means(more, more + 1, 0)).value == pytest.approx(1)
