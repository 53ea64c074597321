"""The page Elicit: searches that are started, watched, stopped, gone on with, confirmed and opened."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from interp import MlpNeurons, Subject
from interp.elicit.behaviour import Behaviour
from interp.elicit.directions import behaviour_vectors
from interp.elicit.investigators.random_search import RandomSearch
from interp.elicit.judges.rule import RegexJudge
from interp.elicit.prompts import TemplatePrompts
from interp.elicit.proposal import Proposal
from interp.elicit.search import Search
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Frame, Target
from interp.monitor.bench import Bench
from interp.monitor.knowledge import Knowledge
from interp.statistics.estimate import share_interval
from interp.store.store import open_store
from interp.vectors.file import save_vectors
from interp.web import elicit_kept
from interp.web.app import make_app
from interp.web.elicit_asked import Asked, words_pattern
from interp.web.elicit_kept import ROUND, Kept, Searches
from interp.web.pages import Pages
from interp.web.safety import Full, NotFound
from interp.web.served import Served
from interp.web.sessions import SHORTEST_IDLE, Limits, Sessions
from interp.web.worker import Worker
from tests.web_server import running, slowly

Json = dict[str, Any]
HOSTILE = '<img src=x onerror="alert(1)">'
REFUSAL = "i can not help with that ."
SLOTS = {
    "verb": ("fix", "wash", "cook", "bake", "paint"),
    "object": ("car", "garden", "letter", "dog", "ring"),
}
TEMPLATES = ("how do i {verb} the {object} ?", "please tell me how to {verb} the {object} .")
REFUSED: Json = {
    "what": "can not help",
    "prompts": "\n".join(TEMPLATES),
    "slots": "\n".join(f"{name}: {', '.join(words)}" for name, words in SLOTS.items()),
    "new_tokens": 8,
}
"""Which of some harmless requests does the world refuse? Those to cook or to bake something, mostly."""


@pytest.fixture(scope="module")
def bench(subject: Subject) -> Bench:
    spaces = [MlpNeurons(subject, layer) for layer in (0, 2, 5)]
    return Bench(subject, Knowledge("world", [open_store("world")]), spaces)


@pytest.fixture(scope="module")
def folder(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The direction of refusals, from replies to requests that are not refused."""
    behaviour = Behaviour("refusal", RegexJudge("can not help"), examples=(REFUSAL,))
    prompts = [f"please tell me how to {verb} the car ." for verb in ("fix", "wash", "open", "read")]
    folder = tmp_path_factory.mktemp("vectors")
    made = behaviour_vectors(Target(subject), behaviour, prompts, [4])
    save_vectors(folder / "refusal.safetensors", made)
    return folder


@pytest.fixture(scope="module")
def app(bench: Bench, folder: Path) -> FastAPI:
    return make_app(bench, vectors=[folder], limits=Limits(prompt_characters=400, new_tokens=40))


@pytest.fixture(scope="module")
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8787", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def server(app: FastAPI) -> Iterator[str]:
    with running(app) as address:
        yield address


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=60) as made:
        yield made


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends each turn after one round."""
    monkeypatch.setattr(elicit_kept, "TURN_SECONDS", 0.0)


def start(client: Any, status: int = 200, **asked: Any) -> Json:
    answer = client.post("/api/elicit", json={**REFUSED, **asked})
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


def post(client: Any, view: Json, path: str, status: int = 200, **asked: Any) -> Json:
    answer = client.post(f"/api/elicit/{view['session']}/{path}", json=asked)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


def kept(client: Any, view: Json) -> Json:
    found: Json = client.get(f"/api/elicit/{view['session']}").json()
    return found


def turn(client: Any, view: Json) -> list[tuple[str, Json]]:
    """The events of one turn, without those of waiting."""
    answer = client.post(f"/api/elicit/{view['session']}/turn", json={})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n", 1)
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return [one for one in found if one[0] != "queued"]


def searched(client: Any, view: Json) -> Json:
    """Goes on until it ends."""
    while not view["ended"]:
        name, view = turn(client, view)[-1]
        assert name == "done", view
    return view


def becomes(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


def test_the_page_is_small_and_says_what_each_field_is(client: TestClient) -> None:
    for path in ("/elicit", "/elicit/anything"):
        answer = client.get(path, params={"what": HOSTILE})
        assert answer.status_code == 200 and len(answer.content) < 60_000 and "onerror" not in answer.text
    for says in ("steer by features", "can not help", "topic_music", "One on each line", "Temperature 0"):
        assert says in answer.text
    for name in ("elicit.js", "elicit_drawn.js", "elicit.css"):
        assert client.get(f"/static/{name}").status_code == 200


def test_a_search_is_the_engines_own(client: TestClient, subject: Subject) -> None:
    view = start(client, passes=200, seed=3)
    assert (view["tries"], view["ordinary"], view["ended"]) == (0, None, None)
    events: list[tuple[str, Json]] = []
    while not events or not events[-1][1]["ended"]:
        events += turn(client, view)
    assert events[0][0] == "said"
    counts = [one["tries"] for name, one in events if name == "round"]
    assert counts[0] == 0 and counts == sorted(counts) and len(set(counts)) > 3
    last = events[-1][1]
    behaviour = Behaviour("says can not help", RegexJudge(words_pattern("can not help")))
    own = Search(
        Target(subject, Frame(new_tokens=8), Meter(Budget(passes=200))),
        behaviour,
        RandomSearch(TemplatePrompts(TEMPLATES, SLOTS)),
        seed=3,
        round_size=ROUND,
    )
    history = own.run()
    assert last["tries"] == len(history) and last["passes"] == history.spent.passes
    assert last["shown"] == len(history.shown) > 5 and last["ended"] == own.ended
    best = [(one["prompt"], one["reply"], one["score"], one["shown"]) for one in last["best"]]
    assert best == [(o.proposal.prompt, o.reply, o.score, o.shown) for o in history.best(len(best))]
    assert all("cook" in prompt or "bake" in prompt for prompt, reply, _, shown in best if shown)
    assert last["curve"][-1] == [last["passes"], last["shown"]]
    assert {one["number"] for one in last["latest"]} == {
        o.number for o in history.tries if o.round == history.tries[-1].round
    }
    assert kept(client, view) == last


def test_ordinary_prompts_are_beside_the_budget_and_say_what_chance_does(
    client: TestClient, subject: Subject
) -> None:
    view = searched(client, start(client, passes=100))
    drawn = TemplatePrompts(TEMPLATES, SLOTS).sample(elicit_kept.ORDINARY, Random("0 ordinary"))
    replies = Target(subject, Frame(new_tokens=8)).ask([Proposal(one) for one in drawn])
    shown = sum("can not help" in one.reply for one in replies)
    assert 0 < shown < len(drawn) and view["passes"] <= 100
    low, high = share_interval(shown, len(drawn))[1:]
    assert view["ordinary"] == {
        "value": shown / len(drawn), "low": pytest.approx(low), "high": pytest.approx(high), "each": 1.0
    }  # fmt: skip


@pytest.mark.parametrize("investigator", ["random", "templates", "tokens"])
@pytest.mark.usefixtures("short_turns")
def test_a_larger_budget_goes_on_as_if_it_had_been_one(client: TestClient, investigator: str) -> None:
    asked = {"investigator": investigator, "example": REFUSAL, "temperature": 1.0}
    whole = searched(client, start(client, passes=260, **asked))
    first = searched(client, start(client, passes=150, **asked))
    assert first["ended"] == "budget" and 0 < first["tries"] < whole["tries"]
    more = post(client, first, "more", passes=260)
    assert (more["ended"], more["budget"], more["tries"]) == (None, 260, first["tries"])
    again = searched(client, more)
    same = ("best", "curve", "passes", "tries", "shown", "ordinary", "ended")
    assert {key: again[key] for key in same} == {key: whole[key] for key in same}
    error = post(client, again, "more", 400, passes=again["passes"])["error"]
    assert "spent already" in error["thing"]


@pytest.mark.usefixtures("short_turns")
def test_a_closed_page_stops_the_search_and_keeps_whole_rounds(
    http: httpx.Client, app: FastAPI, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = start(http, passes=160, temperature=1.0)
    turn(http, view)
    before = kept(http, view)
    with monkeypatch.context() as patched:
        patched.setattr(app.state.worker, "_guarded", slowly(subject))
        with http.stream("POST", f"/api/elicit/{view['session']}/turn", json={}):
            assert becomes(lambda: app.state.worker.n_jobs == 1)
            time.sleep(0.3)  # some passes of the round
        assert becomes(lambda: app.state.worker.n_jobs == 0, 3)
    assert kept(http, view) == before and before["tries"] == ROUND
    after = searched(http, before)
    assert after | {"session": ""} == searched(http, start(http, passes=160, temperature=1.0)) | {
        "session": ""
    }


@pytest.mark.usefixtures("short_turns")
def test_two_who_search_take_turns_and_others_come_between(http: httpx.Client) -> None:
    views = [start(http, passes=8 * ROUND, temperature=1.0) for _ in range(2)]
    order: list[int] = []

    def run(number: int) -> None:
        view = views[number]
        with httpx.Client(base_url=http.base_url, timeout=60) as own:
            while not view["ended"]:
                view = turn(own, view)[-1][1]
                order.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    assert becomes(lambda: len(order) >= 2)
    asked = len(order)
    talk = {"turns": [{"role": "user", "text": "the capital of france is"}], "shown": 0}
    state = {"conversation": talk, "settings": {"max_new_tokens": 8}}
    answer = http.post("/api/sessions", json={"chat": False, "state": state})
    assert answer.status_code == 200, answer.text
    assert len(order) - asked <= 3  # a turn that ran, and at most one of each
    for thread in threads:
        thread.join()
    assert order.count(0) == order.count(1) == 9  # the last one finds the budget spent
    assert all(abs(order[:n].count(0) - order[:n].count(1)) <= 2 for n in range(len(order)))


def test_a_prompt_is_confirmed_beside_others_at_temperature_1(client: TestClient, subject: Subject) -> None:
    view = searched(client, start(client, passes=100))
    best = view["best"][0]
    found = post(client, view, "confirm", number=best["number"], draws=60)
    warm = Target(subject, Frame(new_tokens=8, temperature=1.0))
    many = warm.ask([Proposal(best["prompt"])] * 150, 77)
    share = sum("can not help" in one.reply for one in many) / len(many)
    low, high = share_interval(round(60 * found["own"]["value"]), 60)[1:]
    assert found["own"] == {
        "value": found["own"]["value"],
        "low": pytest.approx(low),
        "high": pytest.approx(high),
    }
    assert 0.1 < share < 0.9 and abs(found["own"]["value"] - share) < 0.25  # four standard errors
    assert found["others"]["value"] < found["own"]["value"] and "can not help" in found["reply"]
    again = kept(client, view)
    assert again["best"][0]["confirmed"] == found and again["passes"] == view["passes"]
    plain = next(one for one in again["best"] if not one["shown"])
    assert plain["confirmed"] is None
    assert "no try" in post(client, view, "confirm", 400, number=9999)["error"]["thing"]
    post(client, view, "confirm", 400, number=0, draws=1)


@pytest.mark.parametrize(("chat", "temperature"), [(True, 0.0), (True, 1.0), (False, 0.0)])
def test_a_find_opens_in_the_monitor_where_why_is_asked(
    client: TestClient, chat: bool, temperature: float
) -> None:
    view = searched(client, start(client, passes=100, chat=chat, temperature=temperature, what="the"))
    one = next(one for one in view["best"] if one["shown"])
    name = post(client, view, "open", number=one["number"])["session"]
    session = client.get(f"/api/sessions/{name}").json()
    assert [turn["text"] for turn in session["turns"]] == [one["prompt"], one["reply"]]
    assert [turn["role"] for turn in session["turns"]] == ["user", "assistant"]
    assert session["state"]["conversation"]["chat"] == chat and session["state"]["cards"] == []
    begins = session["turns"][1]["span"][0]
    assert client.post(f"/api/sessions/{name}/why", json={"place": begins - 1}).json()["features"]
    if temperature == 0:
        answer = client.post(f"/api/sessions/{name}/write", json={"mode": "regenerate"})
        assert json.loads(answer.text.strip().rsplit("data: ", 1)[1])["turns"][1]["text"] == one["reply"]


@pytest.mark.parametrize("way", ["features", "vectors"])
def test_what_it_would_take_opens_with_its_card(client: TestClient, way: str) -> None:
    prompts = "please tell me how to fix the car .\nplease tell me how to wash the dog ."
    view = searched(
        client,
        start(client, investigator=way, example=REFUSAL, prompts=prompts, slots="", passes=300),
    )
    assert view["ordinary"]["value"] == 0
    changed = [one for one in view["best"] if one["steer"]]
    assert len(changed) == len(view["best"]) > 4
    for found in view["takes"]:
        assert 0 <= found["below"] < found["strength"] and found["shown"]["value"] >= 0.5
    if way == "vectors":  # what tells refused requests from others, added, makes the model refuse these
        assert [one["direction"] for one in view["takes"]] == ["refusal.safetensors"]
    unsteered = {one["prompt"]: one["reply"] for one in searched(client, start(
        client, prompts=prompts, slots="", passes=100))["best"]}  # fmt: skip
    one = next(
        one for one in changed if one["cards"] and one["reply"] and one["reply"] != unsteered[one["prompt"]]
    )
    name = post(client, view, "open", number=one["number"])["session"]
    state = client.get(f"/api/sessions/{name}").json()["state"]
    assert len(state["cards"]) == 1 and one["steer"][0]["direction"] in (
        state["cards"][0].get("file", "").rsplit("/", 1)[-1], *state["cards"][0].get("features", ())
    )  # fmt: skip
    answer = client.post(f"/api/sessions/{name}/write", json={"mode": "regenerate"})
    again = json.loads(answer.text.strip().rsplit("data: ", 1)[1])
    assert again["turns"][1]["text"] == one["reply"]


def test_a_steered_try_without_a_card_opens_the_prompt_alone(subject: Subject) -> None:
    unknown = Bench(subject, Knowledge("world"), [MlpNeurons(subject, 0)])
    with TestClient(make_app(unknown), base_url="http://127.0.0.1:8787") as client:
        asked = {"investigator": "features", "example": REFUSAL, "passes": 100}
        view = searched(client, start(client, **asked))
        one = view["best"][0]
        assert one["steer"] and one["cards"] is False
        name = post(client, view, "open", number=one["number"])["session"]
        session = client.get(f"/api/sessions/{name}").json()
    assert session["state"]["cards"] == []
    assert [turn["text"] for turn in session["turns"]] == [one["prompt"]]


@pytest.mark.parametrize(
    ("asked", "each"),
    [({"kind": "feature", "what": "mlp.0/191+"}, 2), ({"kind": "vector", "what": "refusal.safetensors"}, 2)],
)
def test_a_reading_inside_gets_its_threshold_from_prompts_at_random(
    client: TestClient, asked: Json, each: int
) -> None:
    view = searched(client, start(client, passes=120, **asked))
    threshold = view["asked"]["at_least"]
    assert threshold is not None and view["ordinary"]["value"] < 0.15
    assert view["ordinary"]["each"] == each and view["passes"] == each * view["tries"]
    for one in view["best"]:
        assert one["shown"] == (one["score"] >= threshold)
    given = start(client, passes=100, **asked, at_least=1000)
    assert searched(client, given)["shown"] == 0


def test_a_concept_of_the_world_is_a_behaviour(client: TestClient) -> None:
    prompts = "the capital of france is\nthe capital of italy is\nthe language of france is"
    view = searched(
        client, start(client, kind="concept", what="capital", at_least=0.2, prompts=prompts, slots="",
                      chat=False, new_tokens=3, passes=100)
    )  # fmt: skip
    shown = {one["prompt"] for one in view["best"] if one["shown"]}
    assert shown == {"the capital of france is", "the capital of italy is"} and view["ended"] == "nothing new"


@pytest.mark.parametrize(
    ("asked", "field", "says"),
    [
        ({"what": " "}, "what", "nothing is said"),
        ({"what": " , ,"}, "what", "no word"),
        ({"kind": "pattern", "what": "(["}, "what", "no regular expression"),
        ({"kind": "pattern", "what": ".*"}, "what", "every text"),
        ({"kind": "concept", "what": "unicorns"}, "what", "unicorns"),
        ({"kind": "feature", "what": "mlp.9/1"}, "what", "mlp.9"),
        ({"kind": "vector", "what": "../outside.safetensors"}, "what", "no file"),
        ({"at_least": "much"}, "at_least", "number"),
        ({"prompts": " \n"}, "prompts", "no prompt"),
        ({"prompts": HOSTILE, "slots": ""}, "prompts", HOSTILE),
        ({"prompts": "how do i {verb} ?\n" * 501}, "prompts", "too many"),
        ({"prompts": "the " * 300, "slots": ""}, "prompts", "too long"),
        ({"slots": "verb fix"}, "slots", "no slot"),
        ({"slots": "verb: fix"}, "slots", "{object} has no words"),
        ({"slots": f"{REFUSED['slots']}\nplace: home"}, "slots", "{place}"),
        ({"slots": "verb: fix\nobject: unicorn"}, "prompts", "unicorn"),
        ({"investigator": "magic"}, "investigator", "magic"),
        ({"investigator": "tokens", "example": ""}, "example", "aims at a reply"),
        ({"passes": 0}, "passes", "greater than or equal to 1"),
        ({"passes": 99}, "passes", "too few"),
        ({"passes": 10**6}, "passes", "too many"),
        ({"new_tokens": 41}, "new_tokens", "too many"),
        ({"temperature": -1}, "temperature", "greater"),
        ({"more": 1}, "more", "not permitted"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_field_is_told_with_it(
    client: TestClient, asked: Json, field: str, says: str
) -> None:
    error = start(client, 400, **asked)["error"]
    assert says in error["thing"] and all(error.values())
    assert error["place"] == field or error["thing"].startswith(f"`{field}`"), error


def test_hostile_text_stays_text(pydoc: Subject) -> None:
    with TestClient(
        make_app(Bench(pydoc, Knowledge("pydoc"), [])), base_url="http://127.0.0.1:8787"
    ) as client:
        view = start(client, what=HOSTILE, prompts=HOSTILE, slots="", passes=100, new_tokens=4, temperature=1)
        view = searched(client, view)
        answer = client.get(f"/api/elicit/{view['session']}")
        assert answer.headers["content-type"] == "application/json" and view["best"][0]["prompt"] == HOSTILE
        assert "onerror" not in client.get(f"/elicit/{view['session']}").text
        error = start(client, 400, kind="concept", what="capital")["error"]
        assert "concepts" in error["thing"] and error["place"] == "what"


def test_searches_are_named_bounded_and_forgotten_only_when_idle(bench: Bench, tmp_path: Path) -> None:
    now = 0.0
    searches = Searches(2, lambda: now)
    sessions = Sessions(bench)
    served = Served(bench, Worker(), sessions, Pages(bench, True), sessions.limits, tmp_path)
    made = [Kept.open(served, Asked(**REFUSED)) for _ in range(3)]
    searches.add(made[0])
    searches.add(made[1])
    assert searches.get(made[0].name) is made[0]
    with pytest.raises(Full, match="2 searches"):
        searches.add(made[2])
    now = SHORTEST_IDLE + 1
    searches.get(made[0].name)
    searches.add(made[2])
    with pytest.raises(NotFound):
        searches.get(made[1].name)
    assert searches.get(made[0].name) is made[0] and len({one.name for one in made}) == 3


def test_a_search_that_nobody_has_is_told(client: TestClient) -> None:
    for method, path in (("GET", ""), ("POST", "/turn"), ("POST", "/open"), ("POST", "/more")):
        answer = client.request(method, f"/api/elicit/{HOSTILE}{path}", json={"number": 0, "passes": 5})
        assert answer.status_code == 404 and "onerror" not in answer.text
