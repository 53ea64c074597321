"""The local app: the Monitor's routes, several sessions on one model, refusals, and the OpenAI door."""

import dataclasses
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
import torch
import uvicorn
import yaml
from fastapi import FastAPI
from starlette.testclient import TestClient

import interp
import saes
from interp import MlpNeurons, Site, Subject, Vector
from interp.bundled.world.corpus import WorldCorpus
from interp.causal.side_effects import neutral_beginnings
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.llm.request import Message, Request
from interp.llm.running import run_with
from interp.monitor.bench import Bench
from interp.monitor.knowledge import Knowledge
from interp.monitor.session import Session, State
from interp.monitor.steering import FeatureCard
from interp.store.rows import DescriptionRow, FeatureRow, ScoreRow
from interp.store.store import open_store
from interp.vectors.file import save_vectors
from interp.web.app import make_app
from interp.web.safety import HEADERS
from interp.web.sessions import Limits
from saes.fit import fit
from saes.train import save
from tests.command_line import command
from tests.corpora import Noise
from tests.endpoint_server import MODEL, Script, serving
from tests.web_server import running, slowly

Json = dict[str, Any]
ASK = "what is the capital of france ?"
PLAIN = "the capital of france is"
SCRIPT = "<script>alert(1)</script> & cities"
LEVEL = "0.99999"


@pytest.fixture(scope="module")
def store(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen mined neurons of two layers with descriptions, and more that are said to be cities."""
    path = tmp_path_factory.mktemp("web") / "store.sqlite"
    spaces = [MlpNeurons(subject, layer) for layer in (2, 3)]
    mined = interp.mine(subject, spaces, WorldCorpus(1, 300))
    scored = ScoreRow("simulation", "known", "report", 0.5, 0.4, 0.6, 0.0, -0.1, 0.2, 20)
    with interp.score(interp.describe(mined, features=8)).store(path) as made:
        for i in range(300, 315):
            text = SCRIPT if i == 300 else "the names of cities"
            row = DescriptionRow(text, "test", scores=(scored,))
            made.put("world", [FeatureRow("mlp.3", i, side, 0.1, {LEVEL: 2.0}, (row,)) for side in (1, -1)])
    return path


@pytest.fixture(scope="module")
def bench(subject: Subject, store: Path) -> Bench:
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    neutral = neutral_beginnings(subject, WorldCorpus(1, 300), 4)
    return Bench(subject, Knowledge("world", [open_store(store)]), neurons, neutral)


@pytest.fixture(scope="module")
def folder(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a vector, and a link in it to one that lies outside."""
    whole = tmp_path_factory.mktemp("vectors")
    values = torch.ones(subject.d_model)
    for name in ("inside/v.safetensors", "outside.safetensors"):
        (whole / name).parent.mkdir(exist_ok=True)
        save_vectors(whole / name, [Vector("v", Site("resid_post", 3), values, "world")])
    (whole / "inside/link.safetensors").symlink_to(whole / "outside.safetensors")
    return whole / "inside"


@pytest.fixture(scope="module")
def app(bench: Bench, folder: Path) -> FastAPI:
    keys = tuple(f"mlp.3/{i}+" for i in range(300, 315))
    named = {"cities": [FeatureCard(features=keys, strength=20.0)]}
    limits = Limits(prompt_characters=400, new_tokens=60, cards=3, features=400, body_bytes=20_000)
    return make_app(bench, vectors=[folder], named=named, limits=limits)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8787", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def server(app: FastAPI) -> Iterator[str]:
    """The address of a real server in a thread."""
    with running(app) as address:
        yield address


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=60) as made:
        yield made


@pytest.fixture
def slow(app: FastAPI, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every pass of the model take a moment."""
    monkeypatch.setattr(app.state.worker, "_guarded", slowly(subject))


class Talk:
    """A session by its routes."""

    def __init__(self, client: Any, **asked: Any) -> None:
        self.client = client
        made = self.ok(client.post("/api/sessions", json=asked))
        self.name, self.view = made["session"], made["view"]

    @staticmethod
    def ok(answer: Any) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()

    def path(self, what: str = "") -> str:
        return f"/api/sessions/{self.name}{what}"

    def get(self) -> Json:
        found: Json = self.ok(self.client.get(self.path()))
        return found

    def post(self, what: str, **values: Any) -> Json:
        found: Json = self.ok(self.client.post(self.path(f"/{what}"), json=values))
        return found

    def refused(self, what: str, status: int = 400, **values: Any) -> Json:
        return refused(self.client.post(self.path(f"/{what}"), json=values), status)

    def write(self, **asked: Any) -> list[tuple[str, Json]]:
        answer = self.client.post(self.path("/write"), json=asked)
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [one for one in events(answer.text.splitlines()) if one[0] != "queued"]

    def spoken(self, tokens: int = 6, **asked: Any) -> Json:
        """Says something and lets the model answer; the view."""
        self.post("settings", max_new_tokens=tokens)
        self.post("say", text=ASK if self.view["state"]["conversation"]["chat"] else PLAIN)
        return self.write(**asked)[-1][1]


def events(lines: Any) -> Iterator[tuple[str, Json]]:
    """The name and data of each server-sent event."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def refused(answer: Any, status: int) -> Json:
    assert answer.status_code == status, answer.text
    error: Json = answer.json()["error"]
    assert error.keys() == {"thing", "place", "fix"} and all(error.values())
    assert "Traceback" not in answer.text
    return error


def becomes(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


def test_the_whole_story(client: TestClient, subject: Subject, bench: Bench) -> None:
    talk = Talk(client)
    assert talk.view["tokens"] == talk.view["turns"] == [] and not talk.view["can_undo"]
    assert talk.view["state"]["conversation"]["chat"]  # the world has a template
    talk.post("settings", max_new_tokens=6)
    said = talk.post("say", text=ASK)
    own = Session(bench, State.model_validate(said["state"]))
    assert [one["id"] for one in said["tokens"]] == own.state.conversation.tokens(subject)
    assert said["tokens"][0]["p"] is None and said["tokens"][0]["special"]

    written = talk.write()
    assert [name for name, _ in written] == ["token"] * 6 + ["done"]
    view = written[-1][1]
    assert view == talk.get()
    new = [one for _, one in written[:-1]]
    list(own.write())
    assert [one["id"] for one in new] == list(own.state.conversation.turns[1].tokens)
    assert [(one["turn"], one["place"]) for one in new] == [(1, i) for i in range(6)]
    assert [one["id"] for one in view["tokens"][-6:]] == [one["id"] for one in new]
    assert [(one["turn"], one["place"]) for one in view["tokens"][-6:]] == [(1, i) for i in range(6)]
    start, end = view["turns"][1]["span"]
    assert (start, end) == (len(said["tokens"]), len(view["tokens"]))
    assert view["turns"][1]["text"] == subject.decode([one["id"] for one in new])

    why = talk.post("why", place=start, k=20)
    assert len(why["features"]) == 20 and 0 < why["share"] <= 1 and why["filtered_out"] == 0
    assert why["control"]["low"] <= why["control"]["value"] <= why["control"]["high"]
    assert why["n_features"] == 8 * subject.d_mlp
    asked: Json = {"place": start, "k": 320, "spaces": ["mlp.3"]}
    every = talk.post("why", **asked)
    cities = talk.post("why", **asked, filter="NAMES of cities")
    assert {one["short"] for one in cities["features"]} == {"the names of cities"}
    assert cities["filtered_out"] == len(every["features"]) - len(cities["features"])
    first = cities["features"][0]
    assert (first["score"], first["null_high"], first["guess"], first["n"]) == (0.5, 0.2, False, 20)
    assert len(first["by_token"]) == start and first["space"] == "mlp.3"
    active = talk.post("why", place=start, by="activation", k=5)
    assert active["by"] == "activation" and active["unknown"] > 0
    groups = talk.post("groups", **asked)
    assert "cities" in groups["groups"][0]["name"]
    assert sum(len(one["keys"]) for one in groups["groups"]) + groups["ungrouped"] + groups[
        "without_description"
    ] == len(every["features"])

    bare = talk.post("groups", place=start, k=5, spaces=["mlp.7"])
    assert bare == {"groups": [], "ungrouped": 0, "without_description": 5, "not_graded": None}

    card = talk.post("card", concept="names of cities", k=10, strength=20.0)["card"]
    assert len(card["features"]) == 10 and talk.get()["state"]["cards"] == []
    steered = talk.post("cards", cards=[card])
    assert steered["state"]["cards"] == [card] and steered["steering"]["features"] > 0
    compared = talk.post("compare")
    assert [one["id"] for one in compared["unsteered"]] == [one["id"] for one in new]
    assert len(compared["changed"]) == len(compared["steered"])
    assert compared["side_effect"]["value"] > 0 and compared["random"] is not None
    assert compared["moved"][0].keys() == {"id", "text", "unsteered", "steered", "random"}

    watched = talk.post("watches", watches=[{"name": "w", "features": card["features"][:2]}])
    assert watched["watched"][0]["name"] == "w"
    assert len(watched["watched"][0]["values"]) == len(watched["tokens"])
    back = talk.post("undo")
    assert back["state"]["watches"] == [] and back["can_redo"]
    assert talk.post("redo")["state"]["watches"] != []
    export = client.get(talk.path("/export.yaml"))
    assert "attachment" in export.headers["content-disposition"]
    exported = yaml.safe_load(export.text)
    assert exported["experiment"] == "replay" and exported["state"] == talk.get()["state"]
    again = Talk(client, state=exported["state"])
    assert again.name != talk.name and again.view["turns"] == talk.get()["turns"]
    for one, other in zip(again.view["tokens"], talk.get()["tokens"], strict=True):
        assert one["id"] == other["id"] and one["p"] == pytest.approx(other["p"], abs=1e-5)


def test_branches(client: TestClient) -> None:
    talk = Talk(client)
    view = talk.spoken()
    start, _ = view["turns"][1]["span"]
    other = view["tokens"][start + 2]["alternatives"][1]["id"]
    forked = talk.write(mode="fork", turn=1, place=2, token=other)
    assert forked[0][1]["place"] == 3  # what was given is not new
    shown = forked[-1][1]
    assert shown["turns"][1] | {"text": "", "span": None} == {
        "turn": 2, "role": "assistant", "text": "", "branches": [1, 2], "position": 1, "span": None,
    }  # fmt: skip
    assert [one["id"] for one in shown["tokens"][start : start + 3]] == [
        *(one["id"] for one in view["tokens"][start : start + 2]),
        other,
    ]
    more = talk.write()  # writes on after the answer, on a branch of its own
    assert more[0][1]["place"] == len(shown["tokens"]) - start and more[-1][1]["turns"][1]["turn"] == 3
    again = talk.write(mode="regenerate")[-1][1]
    assert again["turns"][1]["branches"] == [1, 2, 3, 4]
    assert talk.post("show", turn=1)["tokens"] == view["tokens"]
    edited = talk.post("edit", turn=0, text="what is the capital of italy ?")
    assert edited["turns"][0]["branches"] == [0, 5] and len(edited["turns"]) == 1


def test_what_is_said_and_its_answer_are_one_request(client: TestClient) -> None:
    one, two = Talk(client), Talk(client)
    one.post("settings", max_new_tokens=4)
    got = one.write(text=ASK)
    assert [name for name, _ in got] == ["said"] + ["token"] * 4 + ["done"]
    ids = [one["id"] for one in got[-1][1]["tokens"]]
    assert ids == [one["id"] for one in two.spoken(4)["tokens"]]
    assert [one["id"] for one in got[0][1]["tokens"]] == ids[:-4]
    before = one.get()
    name, told = one.write(text="x" * 500)[-1]
    assert name == "failed" and "400" in told["error"]["fix"] and one.get() == before


def test_sessions_share_nothing(client: TestClient) -> None:
    one, two = Talk(client), Talk(client, chat=False)
    one.post("say", text=ASK)
    two.post("say", text=PLAIN)
    two.post("cards", cards=[{"kind": "features", "features": ["mlp.3/300+"]}])
    assert one.get()["state"]["cards"] == [] and not two.get()["state"]["conversation"]["chat"]
    assert [turn["text"] for turn in one.get()["turns"]] == [ASK]
    assert [turn["text"] for turn in two.get()["turns"]] == [PLAIN]
    assert len(one.name) >= 16 and one.name != two.name


def test_what_is_wrong_leaves_a_session_as_it_was(client: TestClient, folder: Path) -> None:
    talk = Talk(client)
    before = talk.spoken()
    assert "xyzzy" in talk.refused("say", text="xyzzy")["thing"]
    assert "characters" in talk.refused("say", text="the " * 200)["thing"]
    assert "role" in talk.refused("say", text="the", role="judge")["thing"]
    assert "`texts`" in talk.refused("say", texts="the")["thing"]
    assert "no turn 9" in talk.refused("edit", turn=9, text="the")["thing"]
    assert "no turn 9" in talk.refused("show", turn=9)["thing"]
    assert "new tokens" in talk.refused("settings", max_new_tokens=61)["thing"]
    assert "temperature" in talk.refused("settings", temperature=-1)["thing"]
    assert "mlp.99" in talk.refused("cards", cards=[{"kind": "features", "features": ["mlp.99/1"]}])["thing"]
    assert "cards" in talk.refused("cards", cards=[_card("mlp.3/1")] * 4)["thing"]
    assert "features" in talk.refused("cards", cards=[_card(*["mlp.3/1"] * 401)])["thing"]
    assert "needs features" in talk.refused("watches", watches=[{"name": "w"}])["thing"]
    assert "400" in talk.refused("why", place=3, k=401)["fix"]
    assert "no token" in talk.refused("why", place=500)["thing"]
    assert "space" in talk.refused("why", place=3, spaces=["nix"])["thing"]
    assert "no token" in talk.refused("why", place=3, word=10_000_000)["thing"]
    assert "many" in talk.refused("card", concept="cities", k=401)["thing"]
    assert "concept" in talk.refused("card", concept="")["thing"]
    assert (
        "lone"
        in refused(client.post(talk.path("/say"), content=b'{"text": "\\ud800"}', headers=_JSON), 400)[
            "thing"
        ]
    )
    for asked, said in (
        ({"mode": "fork"}, "a fork needs"),
        ({"mode": "fork", "turn": 1, "place": 99, "token": 5}, "no number 99"),
        ({"mode": "fork", "turn": 1, "place": 0, "token": 10_000_000}, "no token"),
    ):
        assert [name for name, _ in talk.write(**asked)] == ["failed"]
        assert said in talk.write(**asked)[0][1]["error"]["thing"]
    refused(client.post(talk.path("/write"), json={"mode": "shout"}), 400)
    for file in (
        "../outside.safetensors",
        str(folder.parent / "outside.safetensors"),
        "link.safetensors",
        "/etc/passwd",
    ):
        assert "no file" in talk.refused("cards", cards=[{"kind": "vector", "file": file}])["thing"]
        assert "no file" in talk.refused("watches", watches=[{"name": "w", "vector": file}])["thing"]
    assert talk.get() == before
    assert len(talk.post("cards", cards=[{"kind": "vector", "file": "v.safetensors"}])["state"]["cards"]) == 1
    refused(client.post("/api/sessions", json={"state": {"conversation": {"turns": [_turn(10**6)]}}}), 400)
    refused(client.get("/api/sessions/nobody"), 404)
    refused(client.post("/api/sessions/nobody/say", json={"text": "the"}), 404)
    refused(client.get("/api/feature/mlp.99/1+"), 404)
    refused(client.get("/nothing"), 404)
    refused(client.get("/api/sessions"), 405)


_JSON = {"content-type": "application/json"}


def _card(*features: str) -> Json:
    return {"kind": "features", "features": list(features)}


def _turn(token: int) -> Json:
    return {"role": "assistant", "tokens": [token]}


def test_bodies(client: TestClient) -> None:
    for content, headers, status, said in (
        (b"{", _JSON, 400, "not valid JSON"),
        (b"[1]", _JSON, 400, "no JSON object"),
        (b'{"chat": NaN}', _JSON, 400, "NaN"),
        (b'{"cls": 1}', _JSON, 400, "cls"),
        (b"[" * 5000, _JSON, 400, "deeper"),
        (b"{}", {"content-type": "text/plain"}, 400, "announced"),
        (b"a=1", {"content-type": "application/x-www-form-urlencoded"}, 400, "announced"),
        (b" " * 20_001, _JSON, 413, "larger"),
    ):
        assert (
            said in refused(client.post("/api/sessions", content=content, headers=headers), status)["thing"]
        )
    many = client.post("/api/sessions", content=(b" " * 1000 for _ in range(30)), headers=_JSON)
    assert "larger" in refused(many, 413)["thing"]  # its length is not said beforehand
    assert client.post("/api/sessions").status_code == 200


def test_others_may_not_ask(client: TestClient, bench: Bench) -> None:
    assert "evil" in refused(client.get("/monitor", headers={"host": "evil.example:8787"}), 403)["thing"]
    refused(client.get("/monitor", headers={"host": "127.0.0.1.evil.example"}), 403)
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999"):
        refused(client.post("/api/sessions", json={}, headers={"origin": origin}), 403)
    refused(client.post("/api/sessions", json={}, headers={"sec-fetch-site": "cross-site"}), 403)
    fine = {"origin": "http://127.0.0.1:8787", "sec-fetch-site": "same-origin"}
    assert client.post("/api/sessions", json={}, headers=fine).status_code == 200

    outside = TestClient(make_app(bench, token="tök", hosts=["box"]), base_url="http://box:1")
    for path in ("/monitor", "/monitor?token=wrong", "/static/main.js", "/api/sessions/x?token=t%C3%B6k"):
        refused(outside.get(path), 401)
    for headers in ({"authorization": "Bearer no"}, {"cookie": "interp_token=no"}):
        refused(outside.post("/api/sessions", json={}, headers=headers), 401)
    assert "error" in outside.get("/v1/models").json() and outside.get("/v1/models").status_code == 401


def test_a_token_becomes_a_cookie(bench: Bench) -> None:
    app = make_app(bench, token="s3cret", hosts=["box"])
    outside = TestClient(app, base_url="http://box:1", follow_redirects=False)
    entered = outside.get("/monitor/abc?token=s3cret&x=1")
    assert (entered.status_code, entered.headers["location"]) == (303, "/monitor/abc?x=1")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert outside.post("/api/sessions", json={}).status_code == 200  # the client kept the cookie
    bare = TestClient(app, base_url="http://box:1")
    assert bare.get("/v1/models", headers={"authorization": "Bearer s3cret"}).status_code == 200


def test_pages_and_headers(client: TestClient) -> None:
    page = client.get("/")
    assert page.url.path == "/monitor" and "<title>Monitor: world</title>" in page.text
    assert client.get("/monitor/any-session").status_code == 200
    assert client.get("/static/main.js").headers["content-type"].startswith("text/javascript")
    assert "--" in client.get("/static/palette.css").text
    for path in ("/monitor", "/static/main.js", "/nothing", "/v1/models", "/static/../app.py"):
        answer = client.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS, path
    refused(client.get("/static/%2e%2e/app.py"), 404)
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")


def test_what_is_known_of_features(client: TestClient) -> None:
    found = client.get("/api/feature/mlp.3/300+")
    assert found.headers["content-type"] == "application/json"
    assert found.json()["description"] == SCRIPT and found.json()["quantiles"] == {LEVEL: 2.0}
    assert found.json()["descriptions"][0]["scores"][0]["null_high"] == 0.2
    unknown = client.get("/api/feature/mlp.7/1-").json()
    assert unknown["description"] == "" and unknown["guess"] and unknown["descriptions"] == []
    hits = client.post("/api/search", json={"words": "alert script", "k": 2}).json()["hits"]
    assert hits[0]["text"] == SCRIPT and hits[0]["key"].startswith("mlp.3/300")
    refused(client.post("/api/search", json={"words": "", "k": 2}), 400)


def test_a_bug_is_told_in_a_sentence_and_ends_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(client)
    talk.post("say", text=ASK)

    def broken(*given: object) -> None:
        raise RuntimeError("/home/secret")

    with monkeypatch.context() as patched:
        patched.setattr(Session, "compare", broken)
        patched.setattr(Session, "write", broken)
        assert "secret" not in str(talk.refused("compare", 500))
        ((name, told),) = talk.write()
        assert name == "failed" and "secret" not in str(told)
    assert talk.post("compare")["features"] == 0


def test_a_session_gives_way_to_a_new_one(bench: Bench) -> None:
    app = make_app(bench, limits=Limits(sessions=2, idle_seconds=1000.0))
    now = 0.0
    app.state.sessions.clock = lambda: now
    client = TestClient(app, base_url="http://localhost")
    first, second = Talk(client), Talk(client)
    assert "2 sessions" in refused(client.post("/api/sessions", json={}), 429)["thing"]
    now = 400.0
    second.get()
    third = Talk(client)
    refused(client.get(first.path()), 404)
    now = 1300.0
    third.get()
    now = 1500.0
    refused(client.get(second.path()), 404)
    assert third.get() and len(app.state.sessions) == 1


@contextmanager
def writing(http: httpx.Client, talk: Talk) -> Iterator[Iterator[tuple[str, Json]]]:
    with http.stream("POST", talk.path("/write")) as answer:
        yield events(answer.iter_lines())


def _ready(http: httpx.Client) -> Talk:
    talk = Talk(http)
    talk.post("settings", max_new_tokens=40)
    talk.post("say", text=ASK)
    return talk


@pytest.mark.usefixtures("slow")
def test_a_closed_page_stops_its_writing(http: httpx.Client, app: FastAPI) -> None:
    talk = _ready(http)
    with writing(http, talk) as seen:
        got = [next(seen)[1] for _ in range(3)]
        refused(http.post(talk.path("/say"), json={"text": "the"}), 409)
        refused(http.post(talk.path("/write")), 409)
    assert http.post(talk.path("/settings"), json={"max_new_tokens": 5}).status_code == 200  # right after
    assert becomes(lambda: app.state.worker.n_jobs == 0, 2)
    view = talk.get()
    kept = view["state"]["conversation"]["turns"][1]["tokens"]
    assert [one["id"] for one in got] == kept[:3] and len(kept) < 33


@pytest.mark.usefixtures("slow")
def test_the_line(http: httpx.Client, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = _ready(http), _ready(http), _ready(http)
    with writing(http, one) as first:
        assert next(first)[0] == "token"
        with writing(http, two) as second:
            assert next(second) == ("queued", {"place": 1})
            with writing(http, three) as third:
                assert next(third) == ("queued", {"place": 2})
                monkeypatch.setattr(app.state.worker, "most", 2)
                assert "wait" in refused(http.post(one.path("/why"), json={"place": 3}), 429)["thing"]
                monkeypatch.undo()
            assert becomes(lambda: app.state.worker.n_jobs == 2, 2)  # the third was closed: never begun
        assert becomes(lambda: app.state.worker.n_jobs == 1, 2)
        with writing(http, three) as third:
            assert next(third) == ("queued", {"place": 1})
            assert list(first)[-1][0] == "done"
            assert next(third)[0] == "token"
    assert len(one.get()["state"]["conversation"]["turns"]) == 2
    assert len(two.get()["state"]["conversation"]["turns"]) == 1


@pytest.mark.usefixtures("slow")
def test_those_who_ask_take_turns(http: httpx.Client, app: FastAPI) -> None:
    one, two = _ready(http), _ready(http)
    line = app.state.worker
    with writing(http, one) as first, ThreadPoolExecutor(3) as threads:
        assert next(first)[0] == "token"
        more = [threads.submit(http.post, one.path("/why"), json={"place": place}) for place in (2, 3, 4)]
        assert becomes(lambda: line.n_jobs == 4)
        with writing(http, two) as second:
            assert next(second) == ("queued", {"place": 1})  # before the first one's other three
        assert all(answer.result().status_code == 200 for answer in more)


@pytest.mark.usefixtures("slow")
def test_a_closed_page_stops_a_long_question(http: httpx.Client, app: FastAPI) -> None:
    talk = _ready(http)
    talk.post("cards", cards=[_card("mlp.3/300+")])
    with pytest.raises(httpx.ReadTimeout):
        http.post(talk.path("/compare"), timeout=0.5)  # takes 120 passes
    began = time.monotonic()
    assert becomes(lambda: app.state.worker.n_jobs == 0) and time.monotonic() - began < 1.5


@pytest.fixture
def program(server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_programs_complete_texts(program: openai.OpenAI, subject: Subject) -> None:
    assert [one.id for one in program.models.list()] == ["world", "world:cities"]
    asked: Json = {"model": "world", "prompt": PLAIN, "max_tokens": 6, "temperature": 0}
    whole = program.completions.create(**asked, logprobs=3)
    own = subject.generate(PLAIN, 6)
    (choice,) = whole.choices
    assert choice.text == f" {own}" and choice.finish_reason == "length"
    assert choice.logprobs is not None and choice.logprobs.tokens == subject.token_strings(own.tokens)
    assert choice.logprobs.token_logprobs == pytest.approx(own.log_probs, abs=1e-4)
    assert len(choice.logprobs.top_logprobs[0]) == 3
    assert whole.usage is not None and whole.usage.completion_tokens == 6
    parts = list(program.completions.create(**asked, stream=True))
    assert len(parts) > 4 and "".join(one.choices[0].text for one in parts) == choice.text
    words = choice.text.split()
    cut = program.completions.create(**asked, stop=[f"{words[2]} {words[3]}"])
    assert cut.choices[0].text.split() == words[:2] and cut.choices[0].finish_reason == "stop"
    cut_parts = list(program.completions.create(**asked, stop=f"{words[2]} {words[3]}", stream=True))
    assert "".join(one.choices[0].text for one in cut_parts) == cut.choices[0].text
    echo = program.completions.create(**asked, echo=True, logprobs=1).choices[0]
    assert echo.text == PLAIN + choice.text and echo.logprobs is not None
    assert [
        echo.text[i:].startswith(t) for i, t in zip(echo.logprobs.text_offset[:5], PLAIN.split(), strict=True)
    ] == [True] * 5
    ids = program.completions.create(**(asked | {"prompt": subject.with_bos(subject.encode(PLAIN))}))
    assert ids.choices[0].text == choice.text
    drawn = [
        program.completions.create(**(asked | {"temperature": 1, "seed": n})).choices[0].text
        for n in (1, 1, 2, 3)
    ]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1


def test_programs_chat(program: openai.OpenAI, subject: Subject) -> None:
    asked: Json = {
        "model": "world",
        "messages": [{"role": "user", "content": ASK}],
        "max_tokens": 8,
        "temperature": 0,
    }
    whole = program.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
    own = subject.generate(subject.chat(asked["messages"]), 8)
    choice = whole.choices[0]
    assert choice.message.content == str(own)
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert [one.logprob for one in choice.logprobs.content] == pytest.approx(own.log_probs, abs=1e-4)
    assert [len(one.top_logprobs) for one in choice.logprobs.content] == [2] * len(own.tokens)
    parts = list(
        program.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(one.choices[0].delta.content or "" for one in parts[:-1]) == str(own)
    assert parts[0].choices[0].delta.role == "assistant" and parts[-2].choices[0].finish_reason is not None
    assert parts[-1].choices == [] and parts[-1].usage == whole.usage
    named = program.chat.completions.create(**(asked | {"model": "world:cities"}))
    card = {"kind": "features", "features": [f"mlp.3/{i}+" for i in range(300, 315)], "strength": 20.0}
    steered = program.chat.completions.create(**asked, extra_body={"steer": [card]})
    assert steered.choices[0].message.content == named.choices[0].message.content != str(own)


def test_a_session_saves_its_steering_set_for_programs(program: openai.OpenAI, http: httpx.Client) -> None:
    talk = Talk(http)
    talk.post("cards", cards=[_card("mlp.3/300+") | {"strength": 20.0}])
    assert talk.post("save", name="mine") == talk.post("save", name="mine") == {"model": "world:mine"}
    assert "world:mine" in [one.id for one in program.models.list()]
    asked: Json = {"prompt": PLAIN, "max_tokens": 5, "temperature": 0}
    saved = program.completions.create(model="world:mine", **asked)
    given = program.completions.create(
        model="world", extra_body={"steer": [_card("mlp.3/300+") | {"strength": 20.0}]}, **asked
    )
    assert saved.choices[0].text == given.choices[0].text
    talk.post("cards", cards=[])
    assert "another name" in refused(http.post(talk.path("/save"), json={"name": "mine"}), 400)["fix"]
    assert refused(http.post(talk.path("/save"), json={"name": "../x"}), 400)


def test_an_endpoint_names_groups_and_one_that_is_gone_is_told(bench: Bench) -> None:
    with serving(Script(answer=lambda body: '{"name": "the names of towns", "grade": 2}')) as script:
        grader = Client(Endpoint(model=MODEL, base_url=script.url, retries=0))
        talk = Talk(
            TestClient(make_app(dataclasses.replace(bench, grader=grader)), base_url="http://127.0.0.1")
        )
        talk.post("say", text=ASK)
        asked: Json = {"place": 9, "k": 300, "spaces": ["mlp.3"], "by": "activation"}
        found = talk.post("groups", **asked)
        assert found["not_graded"] is None and found["groups"]
        assert {(one["name"], one["grade"], one["named_by"]) for one in found["groups"]} == {
            ("the names of towns", 2, MODEL)
        }
    gone = talk.post("groups", **asked)
    assert script.url in gone["not_graded"]["place"] + gone["not_graded"]["thing"]
    assert [one["keys"] for one in gone["groups"]] == [one["keys"] for one in found["groups"]]


def test_interps_own_client_asks_the_model(server: str, subject: Subject) -> None:
    client = Client(Endpoint(model="world", base_url=f"{server}/v1", retries=0))
    reply = run_with(client.chat(Request((Message("user", ASK),), 60)), [client])
    own = subject.generate(subject.chat([{"role": "user", "content": ASK}]), 60)
    assert reply.text == str(own).strip() and reply.usage.completion_tokens >= len(own.tokens)


def test_programs_are_told_what_is_wrong(program: openai.OpenAI, folder: Path) -> None:
    asked: Json = {"model": "world", "prompt": PLAIN, "max_tokens": 4}
    outside = str(folder.parent / "outside.safetensors")
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        program.completions.create(**(asked | {"model": "other"}))
    for wrong, said in (
        ({"n": 2}, "n=1"),
        ({"prompt": "xyzzy"}, "xyzzy"),
        ({"prompt": [10**7]}, "vocabulary"),
        ({"prompt": ["the", "a"]}, "prompt"),
        ({"prompt": "the " * 200}, "too long"),
        ({"max_tokens": 61}, "at most 60"),
        ({"top_p": 0.5}, "top_p"),
        ({"extra_body": {"steer": [_card("mlp.99/1")]}}, "mlp.99"),
        ({"extra_body": {"steer": [{"kind": "vector", "file": outside}]}}, "no file"),
        ({"extra_body": {"tools": []}}, "tools"),
    ):  # fmt: skip
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match=said) as caught:
                program.completions.create(**(asked | wrong), stream=stream)
            assert isinstance(caught.value.body, dict)
            assert caught.value.body["type"] == "invalid_request_error"


def test_the_command(store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[FastAPI] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: seen.append(self.config.app))
    run = tmp_path / "run"
    run.mkdir()
    (run / "store.sqlite").symlink_to(store)
    done = command("serve", str(run), "--port", "0")
    assert done.exit_code == 0, done.output
    assert "http://127.0.0.1:" in done.output and "token" not in done.output
    client = TestClient(seen[0], base_url="http://127.0.0.1")
    hits = client.post("/api/search", json={"words": "names of cities"}).json()["hits"]
    assert hits[0]["text"] == "the names of cities"
    assert Talk(client).view["state"]["conversation"]["chat"]
    card = {"kind": "features", "features": ["mlp.3/300+"], "strength": 2.0}
    (tmp_path / "towns.yaml").write_text(yaml.safe_dump({"experiment": "replay", "state": {"cards": [card]}}))
    (tmp_path / "namer.yaml").write_text("model: m\nbase_url: http://127.0.0.1:9/v1\n")
    files = ("--steer", str(tmp_path / "towns.yaml"), "--endpoint", str(tmp_path / "namer.yaml"))
    done = command("serve", str(run), "--port", "0", *files)
    assert done.exit_code == 0, done.output
    models = TestClient(seen.pop(), base_url="http://127.0.0.1").get("/v1/models").json()["data"]
    assert [one["id"] for one in models] == ["world", "world:towns"]
    monkeypatch.setenv("INTERP_SERVE_TOKEN", "t0k")
    done = command("serve", "--host", "0.0.0.0", "--port", "0", "--no-chat", "--allow-host", "box")
    assert done.exit_code == 0 and "?token=t0k" in done.output
    client = TestClient(seen[1], base_url="http://box")
    assert client.get("/monitor").status_code == 401
    assert client.get("/monitor?token=t0k").status_code == 200
    assert not Talk(client).view["state"]["conversation"]["chat"]


@pytest.mark.parametrize("place", ["sae", "steps/train_sae/sae"])
def test_the_sae_of_a_run_is_read_with_and_without_descriptions(
    place: str, store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[FastAPI] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: seen.append(self.config.app))
    config = saes.SaeTraining(n_latents=64, training_tokens=256, batch_tokens=128, buffer_tokens=300)
    metadata = {"hook_name": "blocks.4.hook_resid_post", "model_name": "world"}
    save(fit(config, Noise(), metadata=metadata), tmp_path / place)
    assert command("serve", str(tmp_path), "--port", "0").exit_code == 0
    (tmp_path / "store.sqlite").symlink_to(store)
    assert command("serve", str(tmp_path), "--port", "0").exit_code == 0
    for app, described in zip(seen, (0, 1), strict=True):
        client = TestClient(app, base_url="http://127.0.0.1")
        assert "sae.resid_post.4" in client.get("/monitor").text
        status = client.post("/api/search", json={"words": "names of cities"}).status_code
        assert status == (200 if described else 400)


def test_the_command_says_what_is_wrong(store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def wrong(*arguments: str) -> str:
        done = command("serve", *arguments)
        assert done.exit_code == 2 and done.output.count("error: ") == 1, done.output
        return done.output

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}, cannot be used" in wrong("--port", str(port))
    assert "no address" in wrong("--host", "no such host")
    assert "no store" in wrong(str(tmp_path / "nothing"), "--port", "0")
    assert "no folder" in wrong("--vectors", str(tmp_path / "nothing"))
    assert "no folder" in wrong("--embedder", str(tmp_path / "nothing"), "--port", "0")
    assert "features of world, not of pydoc" in wrong(str(store), "-m", "pydoc", "--port", "0")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert "interp[serve]" in wrong()
