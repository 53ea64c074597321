"""The Monitor's stories: they load, their states fit the model, and what they say of their example is so."""

from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from interp import Subject
from interp.errors import UserError
from interp.monitor.bench import Bench, Sources
from interp.monitor.knowledge import Knowledge
from interp.monitor.presets import Preset, files, preset, presets
from interp.monitor.session import Session
from interp.web.app import make_app
from saes.spaces import SpacesConfig

STORIES = presets("world")
STEPS = [(story, number) for story in STORIES for number in range(len(story.steps))]
named = pytest.mark.parametrize(("story", "number"), STEPS, ids=lambda one: getattr(one, "name", one))


@pytest.fixture(scope="module")
def bench(subject: Subject) -> Bench:
    """The world with the descriptions that come with it."""
    return Sources(stores=("world",)).open(subject)


@pytest.fixture(scope="module")
def client(bench: Bench) -> TestClient:
    return TestClient(make_app(bench), base_url="http://127.0.0.1:8787", raise_server_exceptions=False)


def test_every_file_is_a_story_and_names_are_unique_for_each_model() -> None:
    told = [Preset.model_validate(yaml.safe_load(file.read_text())) for file in files()]
    pairs = [(one.name, subject) for one in told for subject in one.subjects]
    assert len(told) >= 5 and len(set(pairs)) == len(pairs)
    assert {name for name, of in pairs if of == "world"} == {one.name for one in STORIES}


def test_a_model_without_stories_has_none() -> None:
    assert presets("pydoc") == ()


def test_an_unknown_story_is_refused() -> None:
    with pytest.raises(UserError, match="no story 'nothing'"):
        preset("world", "nothing")


@named
def test_the_answer_is_what_the_story_says(bench: Bench, story: Preset, number: int) -> None:
    step = story.steps[number]
    session = Session(bench, step.state_on(bench.knowledge))
    assert all("its other side is in the same card" in one.why for one in session.steering().left_out)
    assert session.answer().split()[: len(step.answer.split())] == step.answer.split()


@named
def test_counts_fit_and_say_no_more_than_was_counted(story: Preset, number: int) -> None:
    for one in story.steps[number].found:
        assert 0 <= one.hits <= one.n and all(0 <= hits <= one.n for hits in one.random)
        share = one.share
        assert share.low is not None and share.low <= one.hits / one.n <= share.high


def test_works_means_that_the_last_step_does_it_mostly_and_no_random_set_does() -> None:
    for story in STORIES:
        first = story.steps[-1].found[0]
        assert first.random, story.name
        assert story.works == (first.hits > max(first.random) and first.hits > first.n / 2), story.name


def test_what_steering_changes_is_not_there_without_it(bench: Bench) -> None:
    """The last step of a story that works differs from the same without cards."""
    for story in STORIES:
        step = story.steps[-1]
        state = step.state.model_copy(update={"cards": ()})
        assert not story.works or step.answer.split()[0] not in Session(bench, state).answer().split()[:1]


def test_a_step_keeps_what_it_says_in_its_state() -> None:
    step = preset("world", "decimal").steps[0]
    (turn,) = step.state.conversation.turns
    assert (turn.role, turn.text, turn.follows) == ("user", step.turns[0].text, None)
    assert step.state.conversation.shown == 0 and step.state.settings == step.settings


def test_a_card_by_meaning_needs_descriptions(subject: Subject) -> None:
    step = next(step for story in STORIES for step in story.steps if step.concepts)
    with pytest.raises(UserError, match="described"):
        step.state_on(Knowledge(subject.name))


class TestRoutes:
    def test_lists_the_stories_of_the_model(self, client: TestClient) -> None:
        listed = client.get("/api/stories").json()["stories"]
        assert [one["name"] for one in listed] == [one.name for one in STORIES]

    def test_shows_a_story_with_intervals(self, client: TestClient) -> None:
        shown = client.get("/api/stories/decimal").json()
        story = preset("world", "decimal")
        assert [one["text"] for one in shown["steps"]] == [one.text for one in story.steps]
        first, share = shown["steps"][0]["found"][0], story.steps[0].found[0].share
        assert (first["low"], first["high"]) == (share.low, share.high)

    def test_an_unknown_story_is_404(self, client: TestClient) -> None:
        for answer in (
            client.get("/api/stories/nothing"),
            client.post(f"/api/sessions/{_begun(client)}/story", json={"story": "nothing"}),
        ):
            assert answer.status_code == 404
            assert "no story 'nothing'" in answer.json()["error"]["thing"]

    def test_a_step_is_a_change_that_can_be_undone(self, client: TestClient) -> None:
        session = _begun(client)

        def told(step: int) -> Any:
            return client.post(
                f"/api/sessions/{session}/story", json={"story": "decimal", "step": step}
            ).json()

        steps = preset("world", "decimal").steps
        assert told(1)["state"]["conversation"]["turns"][0]["text"] == steps[0].turns[0].text
        last = told(len(steps))
        assert [card["name"] for card in last["state"]["cards"]] == [card.name for card in steps[-1].cards]
        undone = client.post(f"/api/sessions/{session}/undo", json={}).json()
        assert undone["state"]["cards"] == [] and undone["can_redo"]

    @pytest.mark.parametrize("step", [0, 99])
    def test_no_such_step(self, client: TestClient, step: int) -> None:
        asked = {"story": "decimal", "step": step}
        answer = client.post(f"/api/sessions/{_begun(client)}/story", json=asked)
        assert answer.status_code == 400 and "step" in str(answer.json()["error"])

    def test_a_step_that_fails_leaves_the_session_as_it_was(self, subject: Subject) -> None:
        """Nothing is described, so a card by meaning cannot be made."""
        bare = Bench(subject, Knowledge(subject.name), SpacesConfig().open(subject))
        client = TestClient(make_app(bare), base_url="http://127.0.0.1:8787")
        session = _begun(client)
        story, number = next((s, n) for s, n in STEPS if s.steps[n].concepts)
        asked = {"story": story.name, "step": number + 1}
        answer = client.post(f"/api/sessions/{session}/story", json=asked)
        assert answer.status_code == 400 and "described" in answer.json()["error"]["thing"]
        view = client.get(f"/api/sessions/{session}").json()
        assert view["state"]["conversation"]["turns"] == [] and not view["can_undo"]


def _begun(client: TestClient) -> str:
    session: str = client.post("/api/sessions", json={}).json()["session"]
    return session
