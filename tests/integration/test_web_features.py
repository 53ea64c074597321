"""The page Features: what it shows against the stores' own rows, its conditions against a plain count."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from interp import MlpNeurons, Subject
from interp.errors import UserError
from interp.inspection.browse import Browse, Described
from interp.monitor.bench import Bench
from interp.monitor.knowledge import Knowledge
from interp.store.filters import InLayers, InSpace, Interesting, OfPolarity, ScoreBetween
from interp.store.rows import DescriptionRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.store import Store
from interp.web.app import make_app

Json = dict[str, Any]
SCRIPT = "<script>alert('100%_')</script> & Cities"
WORDS = [
    "cities",
    "rivers",
    "names",
    "of",
    "countries",
    "verbs",
    "after",
    "a",
    "comma",
    "numbers",
    "in",
    "sums",
]
FILES = Path(__file__).parents[2] / "interp/web"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Store]:
    """Two stores that hold some features both, with none to three descriptions, scores or not, and ties."""
    rng = np.random.default_rng(0)
    made = []
    for place, layers in enumerate(((2, 3), (3, 4))):
        store = Store(tmp_path_factory.mktemp("features") / f"{place}.sqlite")
        for layer in layers:
            store.put_space(SpaceRow("world", f"mlp.{layer}", f"mlp_post.{layer}", layer, 320, True))
            sides = rng.choice(200, 70, replace=False).tolist()
            rows = [_feature(rng, f"mlp.{layer}", side // 2, 1 if side % 2 else -1) for side in sides]
            store.put("world", rows)
        store.put_space(SpaceRow("other", "mlp.2", "mlp_post.2", 2, 9, True))
        store.put("other", [FeatureRow("mlp.2", 1, 1, 0.5, {}, (DescriptionRow("of another model", "a"),))])
        made.append(store)
    told = DescriptionRow(SCRIPT, "hostile", interesting=True, scores=(_score(0.95, 0.1),))
    made[0].put("world", [FeatureRow("mlp.2", 319, 1, 0.2, {}, (told,))])
    return made


def _score(value: float | None, null_high: float | None, scorer: str = "known") -> ScoreRow:
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return ScoreRow("simulation", scorer, "report", value, low, high, 0.0, -0.1, null_high, 20)


def _feature(rng: np.random.Generator, space: str, feature_id: int, polarity: Any) -> FeatureRow:
    def draw(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    told = []
    for explainer in ("patterns", "reader", "judge")[: draw(0, 1, 1, 2, 3)]:
        text = " ".join(rng.choice(WORDS, 5))
        value = draw(None, round(float(rng.random()), 1), float(rng.random()))
        scores: list[ScoreRow] = [ScoreRow("simulation", "known", "choose", 0.99)]
        if draw(True, True, False):
            scores += [_score(value, draw(None, 0.4)), _score(0.9, 0.1, "second")]
        summary = draw("", text[:12], "Of CITIES")
        interesting = draw(None, True, False)
        chosen = draw(True, True, False)
        told.append(DescriptionRow(text, explainer, 0, summary, chosen, interesting, scores=tuple(scores)))
    return FeatureRow(space, feature_id, polarity, draw(None, float(rng.random()), 0.5), {}, tuple(told))


@pytest.fixture(scope="module")
def browse(stores: list[Store]) -> Browse:
    return Browse(Knowledge("world", stores))


@pytest.fixture(scope="module")
def client(subject: Subject, stores: list[Store]) -> TestClient:
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    app = make_app(Bench(subject, Knowledge("world", stores), neurons))
    return TestClient(app, base_url="http://127.0.0.1:8787", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def rows(client: TestClient) -> list[Json]:
    """All rows, as the page gets them."""
    return every(client)


@pytest.fixture(scope="module")
def held(stores: list[Store]) -> dict[str, FeatureRow]:
    """The features by their key, each from the first store that has it."""
    return {row.key: row for store in reversed(stores) for row in store.features("world")}


def ask(client: TestClient, **asked: Any) -> Json:
    answer = client.post("/api/features", json=asked)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def every(client: TestClient, limit: int = 100, **asked: Any) -> list[Json]:
    """All rows, by their pages."""
    rows: list[Json] = []
    while True:
        found = ask(client, offset=len(rows), limit=limit, **asked)
        rows += found["rows"]
        if not found["rows"]:
            assert len(rows) == found["total"]
            return rows


def test_every_side_that_the_stores_hold_is_a_row_with_what_knowledge_says(
    client: TestClient, stores: list[Store], held: dict[str, FeatureRow]
) -> None:
    rows = every(client, limit=37)
    assert [row["key"] for row in rows] == [
        row["key"]
        for row in sorted(rows, key=lambda one: (one["layer"], one["feature_id"], -one["polarity"]))
    ]
    assert len(rows) == len(held) and {row["key"] for row in rows} == held.keys()
    known = Knowledge("world", stores).of(held)
    for row in rows:
        one = known[row["key"]]
        assert (row["short"], row["interesting"], row["rate"]) == (one.short, one.interesting, one.rate)
        score = one.score or _score(None, None)
        told = row["score"], row["low"], row["high"], row["null_high"]
        assert told == (score.value, score.low, score.high, score.null_high)
        assert row["guess"] == one.is_guess
    assert {len([row for row in rows if not row["short"]]) > 20, any(row["guess"] for row in rows)} == {True}


def test_an_explainer_is_the_one_of_the_description_shown(
    browse: Browse, held: dict[str, FeatureRow]
) -> None:
    for row in browse.find(Described(), limit=100).rows:
        told = [one for one in held[row.key].descriptions if one.explainer == row.explainer]
        assert [(one.summary or one.text, one.chosen) for one in told] == [(row.short, True)]


@pytest.mark.parametrize("sort", ["key", "layer", "score", "low", "high", "null_high", "rate"])
@pytest.mark.parametrize("down", [False, True])
def test_sorting_is_that_of_pandas_with_what_is_missing_last(
    client: TestClient, rows: list[Json], sort: str, down: bool
) -> None:
    table = pd.DataFrame(rows).astype({"score": float, "rate": float})
    if sort == "key":
        expected = table["key"][::-1] if down else table["key"]
    else:
        numbers = table[sort].astype(float)
        expected = table["key"][(-numbers if down else numbers).sort_values(kind="stable").index]
    assert [row["key"] for row in every(client, 90, sort=sort, down=down)] == expected.tolist()


PLAIN: dict[str, tuple[Json, Callable[[Json], bool]]] = {
    "space": ({"kind": "space", "name": "mlp.3"}, lambda row: row["space"] == "mlp.3"),
    "layers": ({"kind": "layers", "first": 3, "last": 4}, lambda row: row["layer"] in (3, 4)),
    "score": ({"kind": "score", "least": 0.5}, lambda row: row["score"] is not None and row["score"] >= 0.5),
    "null": (
        {"kind": "above_null"},
        lambda row: (
            row["score"] is not None and (row["null_high"] is None or row["score"] > row["null_high"])
        ),
    ),
    "explainer": ({"kind": "explainer", "name": "reader"}, lambda row: row["explainer"] == "reader"),
    "interesting": ({"kind": "interesting"}, lambda row: row["interesting"] is True),
    "described": ({"kind": "described"}, lambda row: row["short"] != ""),
}


@pytest.mark.parametrize("seed", range(8))
def test_conditions_are_those_of_a_plain_count(client: TestClient, rows: list[Json], seed: int) -> None:
    """Random groups of conditions: all groups hold, each by one of its conditions at least."""
    rng = np.random.default_rng(seed)
    groups = [
        [(str(name), bool(rng.integers(2))) for name in rng.choice(list(PLAIN), rng.integers(1, 4))]
        for _ in range(rng.integers(1, 4))
    ]
    expected = [
        row["key"]
        for row in rows
        if all(any(PLAIN[name][1](row) != negated for name, negated in group) for group in groups)
    ]
    where = [[{**PLAIN[name][0], "negated": negated} for name, negated in group] for group in groups]
    assert [row["key"] for row in every(client, where=where)] == expected


def test_filters_of_the_store_work_on_all_stores(browse: Browse) -> None:
    """The same table answers in Python."""
    frame = browse.frame
    only = (InLayers(2, 3) & OfPolarity(-1)) | (ScoreBetween("simulation", 0.3) & ~Interesting())
    expected = (frame["layer"].isin([2, 3]) & (frame["polarity"] == -1)) | (
        (frame["simulation report"] >= 0.3) & ~frame["interesting"].fillna(False).astype(bool)
    )
    assert browse.find(only).total == expected.sum() > 0
    assert len({hit.key for hit in browse.find(only, limit=100, offset=20).rows}) == 100
    with pytest.raises(UserError, match="no space"):
        browse.find(InSpace(("mlp.9",)))


@pytest.mark.parametrize("words", ["cities", "CITIES", "of c", "100%_", "nothing has this"])
def test_keywords_are_those_of_the_store(
    client: TestClient, stores: list[Store], held: dict[str, FeatureRow], words: str
) -> None:
    """The words are in the text or the summary of the description that is shown."""
    expected = set()
    for key, known in Knowledge("world", stores).of(held).items():
        told = [one for one in held[key].descriptions if one.text == known.text]
        if told and words.lower() in f"{told[0].text}\n{told[0].summary}".lower():
            expected.add(key)
    found = {row["key"] for row in every(client, words=words)}
    assert found == expected and bool(found) == any(store.containing(words) for store in stores)
    others = every(client, where=[[{"kind": "text", "words": words, "negated": True}]])
    assert {row["key"] for row in others} == held.keys() - found


def test_a_search_by_meaning_gives_the_nearest_and_can_be_sorted(
    client: TestClient, stores: list[Store], held: dict[str, FeatureRow]
) -> None:
    knowledge = Knowledge("world", stores)
    texts = {key: one.text for key, one in knowledge.of(held).items() if one.text}
    near = knowledge.embedder.embed(list(texts.values())) @ knowledge.embedder.embed(["names of cities"])[0]
    expected = dict(zip(texts, near.tolist(), strict=True))
    rows = every(client, words="names of cities", by="meaning")
    assert {row["key"]: row["likeness"] for row in rows} == pytest.approx(expected, abs=1e-5)
    likeness = [row["likeness"] for row in rows]
    assert likeness == sorted(likeness, reverse=True) and likeness[0] > 0.5
    where = [[{"kind": "space", "name": "mlp.3"}, {"kind": "space", "name": "mlp.4"}]]
    some = every(client, words="names of cities", by="meaning", where=where)
    assert [row["key"] for row in some] == [row["key"] for row in rows if row["layer"] != 2]
    scored = every(client, words="names of cities", by="meaning", sort="score", down=True)
    values = [-np.inf if row["score"] is None else row["score"] for row in scored]
    assert values == sorted(values, reverse=True) and {row["key"] for row in scored} == texts.keys()
    assert ask(client, words="qqqq zzzz", by="meaning")["total"] == 0


def test_what_is_hostile_stays_text(client: TestClient) -> None:
    (row,) = ask(client, words="<script>")["rows"]
    assert (row["key"], row["short"], row["explainer"]) == ("mlp.2/319+", SCRIPT, "hostile")
    page = client.get("/features?q=<script>alert(1)</script>&f=text:<script>")
    assert page.status_code == 200 and "<script>" not in page.text
    for file in FILES.glob("static/features_*.js"):
        assert not re.search("innerHTML|outerHTML|insertAdjacent|document.write|eval", file.read_text())


def test_it_says_what_excludes_most(client: TestClient, rows: list[Json]) -> None:
    score = {"kind": "score", "least": 0.9}
    where = [[{"kind": "space", "name": "mlp.2"}], [score], [{**score, "negated": True}]]
    found = ask(client, where=where, words="cities")
    spoken = {row["key"] for row in every(client, words="cities")}
    here = [row for row in rows if row["space"] == "mlp.2" and row["key"] in spoken]
    high = sum(row["score"] is not None and row["score"] >= 0.9 for row in here)
    assert found["total"] == 0 and found["rows"] == []
    assert {one["group"]: one["without"] for one in found["why_none"]} == {
        0: 0, 1: len(here) - high, 2: high, None: 0,
    }  # fmt: skip
    assert found["why_none"][0]["group"] == 1
    undescribed = [[{"kind": "described", "negated": True}]]
    meant = ask(client, words="cities", by="meaning", where=undescribed)
    assert (meant["total"], meant["passing"]) == (0, 0) and meant["why_none"][0]["without"] == sum(
        row["short"] != "" for row in rows
    )
    alone = {one["group"]: one["alone"] for one in found["why_none"]}
    assert alone[None] == len(spoken) and alone[0] == sum(row["space"] == "mlp.2" for row in rows)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"where": [[{"kind": "space", "name": "mlp.33"}]]}, "no space 'mlp.33'.*use .*mlp.3"),
        ({"where": [[{"kind": "explainer", "name": "<b>"}]]}, "no explainer '<b>'"),
        ({"where": [[{"kind": "layers", "first": 4, "last": 2}]]}, "no layer is from 4 to 2"),
        ({"where": [[{"kind": "score", "least": "high"}]]}, "where.0.0.score.least"),
        ({"where": [[{"kind": "colour"}]]}, "where.0.0"),
        ({"where": [[]]}, "where.0"),
        ({"where": [[{"kind": "described"}]] * 21}, "where"),
        ({"sort": "likeness"}, "nothing has a likeness"),
        ({"sort": "text"}, "sort"),
        ({"limit": 101}, "limit"),
        ({"offset": -1}, "offset"),
        ({"words": "a" * 501}, "words"),
        ({"word": "a"}, "word"),
    ],
)
def test_what_is_wrong_gets_a_sentence(client: TestClient, asked: Json, said: str) -> None:
    answer = client.post("/api/features", json=asked)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert re.search(said, f"{error['thing']}; {error['fix']}") and error["place"] and error["fix"]


def test_the_page_is_told_what_there_is_to_ask_for(client: TestClient, rows: list[Json]) -> None:
    held = client.get("/api/features").json()
    assert (held["features"], held["layers"]) == (len(rows), [2, 4])
    assert held["described"] == sum(row["short"] != "" for row in rows)
    names = [row["space"] for row in rows]
    assert held["spaces"] == [
        {"name": name, "features": names.count(name)} for name in ("mlp.2", "mlp.3", "mlp.4")
    ]
    told = {one["name"]: one["features"] for one in held["explainers"]}
    assert told == pd.Series([row["explainer"] for row in rows if row["explainer"]]).value_counts().to_dict()
    page = client.get("/features")
    files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
    assert page.status_code == 200 and "/static/features_page.js" in files
    assert all(client.get(file).status_code == 200 for file in files)


def test_without_a_store_there_is_nothing_and_the_page_opens(subject: Subject) -> None:
    app = make_app(Bench(subject, Knowledge("world"), [MlpNeurons(subject, 0)]))
    client = TestClient(app, base_url="http://127.0.0.1:8787")
    assert client.get("/features").status_code == 200
    assert client.get("/api/features").json() == {
        "features": 0, "described": 0, "spaces": [], "explainers": [], "layers": None, "lowest": None,
    }  # fmt: skip
    found = ask(client, words="cities", sort="score", where=[[{"kind": "described"}]])
    assert (found["total"], found["rows"]) == (0, [])
