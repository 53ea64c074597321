"""The page of one feature: what it shows equals what the model, the store and numpy say; notes stay apart."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

import interp
from interp import Directions, MlpNeurons, Site, Subject, WorldCorpus
from interp.corpus.batches import collate
from interp.features.ref import FeatureRef
from interp.inspection import describe_again
from interp.inspection.describe_again import with_others
from interp.inspection.evidence import Texts, activity, exemplars_of, some_batches
from interp.inspection.feature import direction_of, like_directions, logit_effects
from interp.inspection.firing_together import companions
from interp.monitor.bench import Bench
from interp.monitor.knowledge import Knowledge
from interp.render.digits import significant
from interp.store.rows import DescriptionRow, ExemplarRow, FeatureRow, ScoreRow
from interp.store.store import Store, open_store
from interp.web.app import make_app
from interp.web.feature_page_routes import FeaturePageRoutes
from interp.web.job_progress import JobProgress
from interp.web.sessions import Limits
from interp.web.worker import Cancelled, Job

Json = dict[str, Any]
SPACE = "mlp.3"
SCRIPT = "<script>alert(1)</script>"
TEXT = "the capital of france is paris ."


@pytest.fixture(scope="module")
def corpus() -> WorldCorpus:
    return WorldCorpus(1, 250)


@pytest.fixture(scope="module")
def mined(subject: Subject, corpus: WorldCorpus) -> interp.Mined:
    return interp.mine(subject, [MlpNeurons(subject, 3)], corpus)


@pytest.fixture(scope="module")
def store(mined: interp.Mined, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four mined and scored neurons; one more says a script and points to a text that is gone."""
    path = tmp_path_factory.mktemp("feature") / "store.sqlite"
    with interp.score(interp.describe(mined, features=4)).store(path) as made:
        low = ScoreRow("simulation", "known", "report", 0.1, 0.0, 0.2, 0.1, 0.0, 0.3, 20)
        told = DescriptionRow(SCRIPT, "test", scores=(low,))
        gone = ExemplarRow("gone(1)", "explain", 3, 0, 1.0, "top")
        made.put("world", [FeatureRow(SPACE, 300, 1, 0.1, {"0.99999": 2.0}, (told,), (gone,))])
    return path


@pytest.fixture(scope="module")
def key(store: Path) -> str:
    """A feature of the store that was mined."""
    return next(one for one in sorted(open_store(store).described("world")) if "/300" not in one)


@pytest.fixture(scope="module")
def bench(subject: Subject, store: Path, corpus: WorldCorpus) -> Bench:
    spaces = [MlpNeurons(subject, layer) for layer in (2, 3)]
    return Bench(subject, Knowledge("world", [open_store(store)]), spaces, corpora={corpus.name: corpus})


@pytest.fixture(autouse=True)
def _few_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three descriptions for a null take a third of the time of eight."""
    monkeypatch.setattr(describe_again, "OTHERS", 3)


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes") / "notes.sqlite"


@pytest.fixture(scope="module")
def client(bench: Bench, notes: Path) -> Iterator[TestClient]:
    with client_of(bench, notes) as made:
        yield made


def client_of(bench: Bench, notes: Path | None) -> TestClient:
    app = make_app(bench, notes=notes, limits=Limits(prompt_characters=600, new_tokens=60))
    return TestClient(app, base_url="http://127.0.0.1:8787", raise_server_exceptions=False)


def asked(client: TestClient, what: str, key: str, status: int = 200, **values: Any) -> Json:
    answer = client.post(f"/api/feature-page/{what}", json={"key": key, **values})
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


def done(client: TestClient, what: str, **values: str) -> tuple[list[str], Json]:
    """What a job says, and what it comes to."""
    text = client.get(f"/api/feature-page/{what}", params=values).text
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    events = [(one[0].removeprefix("event: "), json.loads(one[1].removeprefix("data: "))) for one in blocks]
    return [data["words"] for name, data in events if name == "said"], events[-1][1]


def feature_of(bench: Bench, key: str) -> FeatureRef:
    return FeatureRef.parse(key, bench.all_spaces)


def test_page_says_what_the_store_says_and_escapes_it(client: TestClient, key: str, bench: Bench) -> None:
    known = bench.knowledge.of([key])[key]
    page = client.get(f"/feature/{key.replace('+', '%2B')}")
    assert page.status_code == 200 and len(page.content) < 300_000
    assert known.score is not None and f"<b>{significant(known.score.value, 2)}</b>" in page.text
    bad = client.get(f"/feature/{SPACE}/300%2B").text
    assert SCRIPT not in bad and "&lt;script&gt;" in bad
    assert "it is not better than those" in bad and 'class="flag">guess' in bad
    row = open_store(bench.knowledge.stores[0].where).feature("world", key)
    said = asked(client, "said", key)
    assert [one["text"] for one in said["measured"]] == [one.text for one in row.descriptions]
    shown = [{k: v for k, v in one.items() if k != "guess"} for one in said["measured"][0]["scores"]]
    assert shown == [vars(one) for one in row.descriptions[0].scores]


def test_neighbours_and_the_monitor_are_linked(client: TestClient) -> None:
    page = client.get(f"/feature/{SPACE}/17-").text
    for link in ("/feature/mlp.3/16-", "/feature/mlp.3/18-", "/monitor?feature=mlp.3/17-"):
        assert f'href="{link}"' in page
    assert 'rel="prev"' not in client.get(f"/feature/{SPACE}/0%2B").text


@pytest.mark.parametrize("bad", ["mlp.9/1", "mlp.3/999999", "nonsense", SCRIPT])
def test_a_key_that_is_no_feature_is_told(client: TestClient, bad: str) -> None:
    page = client.get(f"/feature/{bad}")
    assert page.status_code == 404 and "To mend it" in page.text and SCRIPT not in page.text
    assert asked(client, "logits", bad, 404)["error"]["fix"]


def test_exemplars_are_those_of_the_store_with_activations_of_the_model(
    client: TestClient, key: str, bench: Bench, corpus: WorldCorpus
) -> None:
    rows = bench.knowledge.stores[0].feature("world", key).exemplars
    found = asked(client, "exemplars", key)
    assert [(one["document"], one["start"], one["split"]) for one in found["windows"]] == [
        (row.document, row.start, row.split) for row in rows
    ]
    assert found["moved"] == found["outside"] == 0 and not found["missing"]
    assert found["top"] == pytest.approx(bench.knowledge.of([key])[key].quantiles["0.99999"])
    feature = feature_of(bench, key)
    for one in found["windows"][:3]:
        ids = [int(i) for i in corpus[one["document"]].tokens[one["start"] :][: len(one["values"])]]
        tokens = torch.tensor([bench.subject.with_bos(ids)])
        read = bench.subject.run(tokens, read=[feature.space]).features[SPACE]
        direct = read[0, 1:, feature.feature_id].numpy() * feature.polarity
        np.testing.assert_allclose(one["values"], direct, rtol=2e-3, atol=1e-5)
        assert one["peak"] == int(direct.argmax())
        assert [token["id"] for token in one["tokens"]] == ids


def test_exemplars_of_a_text_that_is_gone_are_counted(client: TestClient) -> None:
    found = asked(client, "exemplars", f"{SPACE}/300+")
    assert found["windows"] == [] and found["missing"] == {"gone(1)": 1}


def test_windows_of_another_text_or_model_are_noticed(bench: Bench, key: str, corpus: WorldCorpus) -> None:
    first = bench.knowledge.stores[0].feature("world", key).exemplars[0]
    moved = ExemplarRow(first.corpus, "explain", first.document, first.start, first.value * 2, "top")
    beyond = ExemplarRow(first.corpus, "explain", len(corpus) + 5, 0, 1.0, "top")
    found = exemplars_of(Texts(bench), feature_of(bench, key), [first, moved, beyond])
    assert (len(found.shown), found.moved, found.outside) == (2, 1, 1)


def test_a_world_text_is_made_from_its_name(subject: Subject, key: str, corpus: WorldCorpus) -> None:
    bare = Texts(Bench(subject, Knowledge("world"), [MlpNeurons(subject, 3)]))
    made = bare.named(corpus.name)
    assert made is not None and made.name == corpus.name
    assert all((made[i].tokens == corpus[i].tokens).all() for i in (0, 17, 249))
    assert bare.named("gone(1)") is None


def test_activity_is_the_share_of_tokens_above_zero(bench: Bench, key: str, corpus: WorldCorpus) -> None:
    feature = feature_of(bench, key)
    found = activity(bench.subject, corpus, feature, most_tokens=600)
    values = np.concatenate(list(read_directly(bench, feature, corpus, 600)))
    assert found.n_tokens == len(values) == found.counts.sum()
    assert found.active.value == pytest.approx((values > 0).mean())
    assert found.active.low < found.active.value < found.active.high
    assert found.edges[-1] == pytest.approx(values.max(), rel=1e-4)


def read_directly(bench: Bench, feature: FeatureRef, corpus: WorldCorpus, most: int) -> Iterator[np.ndarray]:
    """A feature's activation on the tokens that count, row by row."""
    for batch, _, _ in some_batches(bench.subject, corpus, most):
        for tokens, counts in zip(batch.tokens, batch.counts, strict=True):
            row = torch.from_numpy(tokens[: int(np.flatnonzero(counts)[-1]) + 1])[None]
            read = bench.subject.run(row, read=[feature.space]).features[feature.space.name]
            values = read[0, :, feature.feature_id].double().numpy() * feature.polarity
            yield values[counts[: len(values)]]


def test_logit_effects_are_a_numpy_product(bench: Bench, key: str, client: TestClient) -> None:
    subject, feature = bench.subject, feature_of(bench, key)
    weight = subject.final_norm(torch.eye(subject.d_model)[None] * 1e4)[0].diagonal().numpy()
    d = direction_of(feature).numpy()
    assert d == pytest.approx(
        feature.space.decoder(torch.tensor([feature.feature_id]))[0].numpy() * feature.polarity
    )
    weight = weight / weight.mean()
    product = (d * weight) @ subject.unembedding().numpy()
    product -= product.mean()
    order = np.argsort(-product)
    found = asked(client, "logits", key)
    assert [one["id"] for one in found["top"]] == order[:10].tolist()
    assert [one["id"] for one in found["bottom"]] == order[::-1][:10].tolist()
    shown = np.array([one["effect"] for one in (*found["top"], *found["bottom"])])
    expected = product[[*order[:10], *order[::-1][:10]]]
    assert np.corrcoef(shown, expected)[0, 1] > 0.9999
    assert found["lowest"]["value"] < 0 < found["highest"]["value"]


def test_a_tokens_own_direction_is_beyond_random_ones(subject: Subject) -> None:
    token = 500
    found = logit_effects(subject, subject.unembedding()[:, token].float())
    assert found.top[0].token == token and found.top[0].effect > found.highest.high


def test_similar_by_direction_finds_itself_rotated(bench: Bench, subject: Subject, key: str) -> None:
    own = torch.nn.functional.normalize(direction_of(feature_of(bench, key)), dim=0)
    other = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(1))
    other = torch.nn.functional.normalize(other - (other @ own) * own, dim=0)
    rotated = Directions(
        subject, "rotated", Site("resid_post", 5), -(0.9 * own + (1 - 0.81) ** 0.5 * other)[None]
    )
    found = like_directions(
        Bench(subject, bench.knowledge, [*bench.all_spaces, rotated]), feature_of(bench, key)
    )
    assert found.nearest[0].key == "directions.rotated/0-"
    assert found.nearest[0].cosine == pytest.approx(0.9, abs=1e-4)
    assert found.nearest[0].cosine > found.null.high > found.null.low > 0.2
    assert all(not one.key.startswith(key[:-1]) for one in found.nearest)
    assert found.n_features == sum(space.n_features for space in bench.all_spaces)


def test_similar_by_meaning_leaves_itself_out(client: TestClient, key: str) -> None:
    found = asked(client, "similar", key)
    assert found["by_meaning"] and key not in [one["key"] for one in found["by_meaning"]]


def test_cofiring_finds_a_planted_pair(bench: Bench, subject: Subject, corpus: WorldCorpus) -> None:
    site = Site("resid_post", 3)
    vectors = torch.randn(3, subject.d_model, generator=torch.Generator().manual_seed(2))
    vectors[1] = vectors[0] + 0.2 * vectors[2]
    planted = Directions(subject, "planted", site, vectors)
    feature = FeatureRef(planted, 0, 1)
    spaces = [*bench.all_spaces, planted]
    found = companions(subject, corpus, spaces, feature, most_tokens=600)
    best = found.found[0]
    assert best.key == "directions.planted/1+" and best.correlation.value > found.null.high
    one, two = (
        np.concatenate(list(read_directly(bench, FeatureRef(planted, i, 1), corpus, 600))).clip(min=0)
        for i in (0, 1)
    )
    assert best.correlation.value == pytest.approx(np.corrcoef(one, two)[0, 1], abs=1e-4)
    assert best.correlation.low < best.correlation.value < best.correlation.high
    assert found.n_tokens == len(one) and 0 < found.null.low <= found.null.value
    assert all(not one.key.startswith("directions.planted/0") for one in found.found)


def test_cofiring_is_told_as_it_goes(client: TestClient, key: str) -> None:
    words, found = done(client, "together", key=key)
    assert any("reading documents" in one for one in words)
    assert found["found"] and found["null"]["high"] < 1
    assert key not in [one["key"] for one in found["found"]]


def test_rows_of_a_document_are_not_shuffled_onto_each_other(subject: Subject, corpus: WorldCorpus) -> None:
    from interp.corpus.batches import Row
    from interp.inspection.firing_together import _elsewhere

    document = corpus[0]
    rows = [Row(i, document, 0, len(document.tokens)) for i in (0, 0, 1)]
    batch = collate(rows, subject.row_layout)
    x = torch.arange(batch.tokens.size, dtype=torch.float).view(batch.tokens.shape)
    _, both = _elsewhere(x, torch.ones_like(x), torch.from_numpy(batch.document))
    assert both.shape[1:] == x.shape and (both[:, 2] == 1).all()
    assert (both[:, :2].sum((1, 2)) == x.shape[1]).all()  # one of the two stands beside the other document


def test_own_text_is_read_as_the_model_reads_it(client: TestClient, key: str, bench: Bench) -> None:
    found, feature = asked(client, "read", key, text=TEXT), feature_of(bench, key)
    direct = bench.subject.run(TEXT, read=[feature.space]).features[SPACE][0, :, feature.feature_id].numpy()
    direct = direct * feature.polarity
    np.testing.assert_allclose(found["values"], direct, rtol=2e-3, atol=1e-6)
    assert found["peak"] == 1 + int(direct[1:].argmax()) and found["tokens"][0]["special"]
    quantiles = bench.knowledge.of([key])[key].quantiles
    below = [float(p) for p, value in quantiles.items() if value < direct[1:].max()]
    assert float(found["level"]) == max(below)


def test_texts_have_limits(client: TestClient, key: str) -> None:
    assert "too many" in asked(client, "read", key, 400, text="a " * 301)["error"]["thing"]
    assert "context" in asked(client, "read", key, 400, text="a " * 280)["error"]["thing"]
    assert "no text" in asked(client, "read", key, 400, text="")["error"]["thing"]
    assert "too many" in asked(client, "clamp", key, 400, text="the", new_tokens=61)["error"]["thing"]


def test_clamp_is_the_continuation_under_a_clamp(client: TestClient, key: str, bench: Bench) -> None:
    subject, feature = bench.subject, feature_of(bench, key)
    found = asked(client, "clamp", key, text=TEXT, strength=30, new_tokens=8)
    quantile = bench.knowledge.of([key])[key].quantiles["0.99999"]
    value = torch.tensor([30 * quantile * feature.polarity])
    with subject.intervene(interp.Clamp(feature.space, [feature.feature_id], value)):
        steered = subject.generate_ids(*both(subject), 8)[0]
    ids = [one["id"] for one in found["steered"] if one["id"] not in subject.end_ids]
    assert ids == steered
    assert [one["id"] for one in found["unsteered"] if one["id"] not in subject.end_ids] == (
        subject.generate_ids(*both(subject), 8)[0]
    )
    assert found["random"] is not None and found["moved"]


def both(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = subject.to_tokens(TEXT)
    return tokens, torch.ones_like(tokens)


def test_describing_again_scores_as_interp_score_does_and_is_kept(
    client: TestClient, bench: Bench, mined: interp.Mined
) -> None:
    """Of a feature in no store; what a person says afterwards leaves its scores and its quantiles."""
    key = f"{SPACE}/17+"
    assert asked(client, "clamp", key, text=TEXT, new_tokens=2)["left_out"]
    words, found = done(client, "again", key=key, explainer="patterns")
    assert any("Mining mlp.3" in one for one in words) and any("null" in one for one in words)
    features = with_others(mined, feature_of(bench, key))
    assert [one.key for one in features].count(key) == 1 and len(features) == 4
    row = interp.score(interp.describe(mined, features=features)).store().feature("world", key)
    (made,), (direct,) = found["measured"], row.descriptions
    assert made["text"] == direct.text
    for one, score in zip(made["scores"], direct.scores, strict=True):
        assert (one["kind"], one["scorer"], one["n"]) == (score.kind, score.scorer, score.n)
        for name in ("value", "low", "high", "null_mean", "null_high"):
            assert one[name] == pytest.approx(getattr(score, name), abs=1e-6)
    assert made["scores"][0]["null_high"] is not None
    assert not asked(client, "said", key)["measured"]
    assert asked(client, "keep", f"{SPACE}/300+", 404, made=found["made"])["error"]["fix"]
    assert asked(client, "keep", key, made=found["made"])["measured"] == found["measured"]
    said = asked(client, "say", key, name="Ada", text="tools")
    assert said["measured"] == found["measured"] and said["people"][0]["text"] == "tools"
    assert said["description"] == direct.text and said["quantiles"] == pytest.approx(dict(row.quantiles))
    assert not asked(client, "clamp", key, text=TEXT, new_tokens=2)["left_out"]
    assert len(asked(client, "exemplars", key)["windows"]) == len(row.exemplars)


def test_a_job_stops_when_nobody_waits(bench: Bench, key: str, corpus: WorldCorpus) -> None:
    async def in_line() -> Job:
        return Job(lambda: (_ for _ in ()), lambda job: None, "")

    told = JobProgress()
    told.job = asyncio.run(in_line())
    told.job.cancel()
    with pytest.raises(Cancelled):
        companions(bench.subject, corpus, bench.all_spaces, feature_of(bench, key), progress=told)


def test_people_are_kept_apart_by_name_and_replaced_by_themselves(
    client: TestClient, key: str, notes: Path, bench: Bench
) -> None:
    measured = asked(client, "said", key)["measured"]
    asked(client, "say", key, name="Ada", text=SCRIPT, rating=2)
    asked(client, "say", key, name="Bob", text="cities")
    said = asked(client, "say", key, name="Ada", text="names of cities", rating=5)
    assert said["measured"] == measured
    rates = bench.knowledge.of([key])[key].text
    assert said["people"] == [
        {"name": "Ada", "text": "names of cities", "rating": 5, "rates": rates},
        {"name": "Bob", "text": "cities", "rating": None, "rates": ""},
    ]
    with client_of(bench, notes) as later:
        assert asked(later, "said", key)["people"] == said["people"]
        asked(later, "say", key, name=SCRIPT, text=SCRIPT)
        page = later.get(f"/feature/{key.replace('+', '%2B')}")
        assert page.status_code == 200 and SCRIPT not in page.text
    with Store(notes) as written:
        rows = {one.explainer: one for one in written.feature("world", key).descriptions}
    (score,) = rows["person: Ada"].scores
    assert (score.kind, score.scorer, score.split, score.value) == ("rating", "Ada", "people", 5.0)


def test_many_people_at_once_are_all_kept(client: TestClient) -> None:
    key = f"{SPACE}/9+"
    threads = [
        threading.Thread(target=asked, args=(client, "say", key), kwargs={"name": f"P{i}", "text": f"t{i}"})
        for i in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert {one["name"] for one in asked(client, "said", key)["people"]} == {f"P{i}" for i in range(8)}


def test_what_people_say_is_checked(client: TestClient, key: str, bench: Bench) -> None:
    assert "nothing to keep" in asked(client, "say", key, 400, name="Ada")["error"]["thing"]
    for bad in (
        {"rating": 6},
        {"rating": 0},
        {"name": "a\nb"},
        {"name": ""},
        {"name": "x" * 81},
        {"more": 1},
    ):
        assert asked(client, "say", key, 400, **{"name": "Ada", "text": "words", **bad})["error"]["fix"]
    undescribed = asked(client, "say", f"{SPACE}/5+", 400, name="Ada", rating=3)
    assert "to be rated" in undescribed["error"]["thing"]
    with client_of(bench, None) as without:
        assert "keeps no notes" in asked(without, "say", key, 400, name="Ada", text="w")["error"]["thing"]
        page = without.get(f"/feature/{key.replace('+', '%2B')}").text
        assert "keeps no notes" in page and "people-form" not in page


def test_an_explainer_that_does_not_work_here_is_refused(client: TestClient, key: str) -> None:
    answer = client.get("/api/feature-page/again", params={"key": key, "explainer": "prompted"})
    assert answer.status_code == 400 and "explainer" in answer.json()["error"]["thing"]


def test_few_are_held_to_be_kept(bench: Bench, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from interp.web import feature_page_routes as module
    from interp.web.app import Pages, Served, Sessions, Worker

    monkeypatch.setattr(module, "MOST_MADE", 2)
    served = Served(bench, Worker(), Sessions(bench), Pages(bench, False), Limits(), Path("runs"))
    routes = FeaturePageRoutes(served)
    names = [routes._remembered(FeatureRow(SPACE, i, 1)) for i in range(3)]
    assert [name in routes._made for name in names] == [False, True, True]
