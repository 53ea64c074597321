"""The Monitor's whole story: from a wrong answer to a steered right one, and all that is done on the way."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect

from interp import Subject
from interp.monitor.bench import Bench
from interp.monitor.session import Session, State
from tests.browser.accessibility import everything_fits
from tests.browser.conftest import HOSTILE, SCRIPT
from tests.browser.monitor import WRONG, Monitor
from tests.browser.visit import Visit


def test_from_a_wrong_answer_to_a_steered_right_one(
    monitor: Monitor, visit: Callable[..., Visit], bench: Bench, tmp_path: Path
) -> None:
    page = monitor.page
    monitor.say(WRONG)
    assert monitor.answer[0] == "14"  # wrong for decimals
    assert monitor.tokens[1:-3] == WRONG.split()

    page.locator(".tok.written").first.click()
    expect(page.locator("#why-h")).to_have_text("Why “14”?")
    rows = page.locator("#why-body table.features tbody tr")
    expect(rows).to_have_count(50)
    said = page.locator("#why-body .said")
    expect(said).to_contain_text("carry")
    expect(said).to_contain_text("as many random active ones")
    groups = page.locator("#why-body .group")
    expect(groups.first.or_(page.get_by_text("No three of these features"))).to_be_visible()
    page.get_by_label("less").fill("3")
    expect(said).to_contain_text("'14' less '3'")
    page.get_by_label("only with the word").fill("date")
    expect(rows.first).to_contain_text("mlp.2/244-")
    rows.first.get_by_role("button").click()
    expect(page.locator("#why-body .detail")).to_contain_text("“date”")
    expect(page.locator("#why-body .detail")).to_contain_text("Active on this side at")
    expect(page.locator("#heat")).to_contain_text("attribution of mlp")
    everything_fits(page)
    page.get_by_label("less").fill("")

    form = page.locator("form.concept")
    form.get_by_label("concept").fill("date")
    form.get_by_label("suppress").check()
    form.get_by_role("button", name="Find features").click()
    expect(page.locator("#steer .hits").first).to_contain_text("mlp.2/244-")
    page.get_by_role("button", name="Add as a card").click()
    expect(monitor.cards).to_have_count(1)
    expect(monitor.cards.first).to_contain_text("suppressed")
    expect(page.locator("#steer-body")).to_contain_text("Steered by")
    with monitor.answering():
        page.get_by_role("button", name="Regenerate").click()
    assert monitor.answer[0] == "3"

    page.get_by_role("button", name="Compare").click()
    beside = page.locator("#compare-body .two > div")
    expect(beside.nth(0)).to_contain_text("14")
    expect(beside.nth(1).locator(".changed").first).to_have_text("3")
    moved = page.locator("#compare-body table.moved")
    for word in ("14", "3"):
        expect(moved.get_by_role("rowheader", name=word, exact=True)).to_be_visible()
    expect(page.locator("#compare-body")).to_contain_text("nats")
    everything_fits(page)

    with page.expect_download() as downloading:
        page.get_by_role("link", name="Export as YAML").click()
    downloading.value.save_as(tmp_path / "session.yaml")
    exported = yaml.safe_load((tmp_path / "session.yaml").read_text())
    assert exported["experiment"] == "replay" and exported["state"] == monitor.state
    again = Session(bench, State.model_validate(exported["state"]))
    subject = bench.subject
    assert [one["id"] for one in _written(again)] == again.state.conversation.tokens(subject)[-3:]

    page.locator(".tok.written").first.click()
    expect(page.locator("#why-h")).to_have_text("Why “3”?")
    other = Monitor(visit())
    other.open(page.url.removeprefix(other.visit.address))
    expect(other.page.locator("#why-h")).to_have_text("Why “3”?")
    assert other.tokens == monitor.tokens
    expect(other.cards).to_have_count(1)

    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".tok.written").first).to_have_text("14")
    page.get_by_role("button", name="Undo").click()
    expect(monitor.cards).to_have_count(0)
    for _ in range(2):
        page.get_by_role("button", name="Redo").click()
    expect(page.locator(".tok.written").first).to_have_text("3")
    expect(monitor.cards).to_have_count(1)


def _written(session: Session) -> list[dict[str, int]]:
    """What a session writes in the place of its last answer."""
    n = len(session.prompt())
    return [{"id": one.token} for one in session.regenerate()][n:]


def test_a_fork_at_another_token(monitor: Monitor) -> None:
    page = monitor.page
    before = monitor.at_most(6).say(WRONG, 6).answer
    page.locator(".tok.written").nth(1).hover()
    other = page.locator("#popover button.alternative").first
    name = other.locator(".tokens").inner_text().strip()
    other.click()
    expect(page.locator(".branches")).to_contain_text("2/2")
    expect(page.locator(".tok.written").nth(1)).to_have_text(name)
    assert monitor.answer[:2] == [before[0], name] != before[:2] and len(monitor.answer) == 8
    page.get_by_role("button", name="Branch before").click()
    expect(page.locator(".branches")).to_contain_text("1/2")
    assert monitor.answer == before
    page.get_by_role("button", name="Next branch").click()
    expect(page.locator(".branches")).to_contain_text("2/2")


def test_an_earlier_turn_is_said_otherwise(visit: Callable[..., Visit]) -> None:
    monitor = Monitor(visit()).open().at_most(4)
    page = monitor.page
    monitor.say("what is the capital of france ?", 4).say("what is the capital of spain ?", 4)
    before = monitor.tokens
    page.get_by_role("button", name="Edit this turn of user").first.click()
    page.get_by_label("New text of this turn of user").fill("what is the capital of italy ?")
    with monitor.answering(4):
        page.get_by_role("button", name="Say it so, and write").click()
    assert "italy" in monitor.tokens and "spain" not in monitor.tokens
    expect(page.locator(".branches").first).to_contain_text("2/2")
    page.get_by_role("button", name="Branch before").first.click()
    expect(page.locator("#turns")).to_contain_text("spain")
    assert monitor.tokens == before


def test_what_is_typed_in_an_editor_outlives_a_change_elsewhere(monitor: Monitor) -> None:
    page = monitor.page
    monitor.say(WRONG).add_card("date")
    page.get_by_role("button", name="Edit this turn of user").click()
    editor = page.get_by_label("New text of this turn of user")
    editor.fill("the capital of")
    page.get_by_label("On: date").uncheck()
    expect(page.locator(".card.off")).to_have_count(1)
    expect(editor).to_have_value("the capital of")
    with monitor.answering():
        page.get_by_role("button", name="Regenerate").click()
    expect(editor).to_have_value("the capital of")
    editor.press("Escape")
    expect(editor).to_have_count(0)
    expect(page.get_by_role("button", name="Edit this turn of user")).to_be_focused()
    page.get_by_role("button", name="Edit this turn of user").click()
    editor.fill("the capital of spain is")
    with monitor.answering():
        editor.press("Enter")
    expect(editor).to_have_count(0)
    assert "spain" in monitor.tokens


def test_cards_in_order_with_vectors_and_gone_again(monitor: Monitor, vectors: Path) -> None:
    page = monitor.page
    monitor.say(WRONG).add_card("date").add_card("verbs", "strengthen")
    names = monitor.cards.locator("b")
    expect(names).to_have_text(["date", "verbs"])
    page.get_by_role("button", name="Later: date").click()
    expect(names).to_have_text(["verbs", "date"])
    page.get_by_label("On: verbs").uncheck()
    expect(page.locator(".card.off b")).to_have_text(["verbs"])
    monitor.cards.nth(1).get_by_label("strength").fill("2")
    monitor.cards.nth(1).get_by_label("strength").press("Enter")
    expect(monitor.cards.nth(1)).to_contain_text("strengthened")
    state = monitor.state
    assert [(card["name"], card["on"], card["strength"]) for card in state["cards"]] == [
        ("verbs", False, 0.5),
        ("date", True, 2.0),
    ]
    page.get_by_role("button", name="Delete: date").click()
    expect(names).to_have_text(["verbs"])
    page.get_by_role("button", name="Undo").click()
    expect(names).to_have_text(["verbs", "date"])
    page.get_by_role("button", name="Redo").click()
    expect(names).to_have_text(["verbs"])

    card = {"kind": "vector", "name": "noise", "file": "noise.safetensors", "strength": 2.0}
    session = page.url.split("/monitor/")[1]
    monitor.visit.context.request.post(
        f"{monitor.visit.address}/api/sessions/{session}/cards", data={"cards": [card]}
    )
    page.reload()
    expect(names).to_have_text(["noise"])
    expect(monitor.cards).to_contain_text("vector")
    before = monitor.answer
    with monitor.answering():
        page.get_by_role("button", name="Regenerate").click()
    assert monitor.answer != before
    everything_fits(page)


def test_readings_come_and_go(monitor: Monitor, subject: Subject) -> None:
    page = monitor.page
    monitor.say(WRONG)
    page.locator(".tok.written").first.click()
    expect(page.locator("#why-h")).to_have_text("Why “14”?")
    page.get_by_label("Choose mlp.2/244-").check()
    page.get_by_role("group", name="The chosen features").get_by_role("button", name="Watch").click()
    spark = page.locator("#sparks .spark")
    expect(spark).to_have_count(1)
    expect(spark.locator("svg")).to_have_attribute(
        "aria-label", re.compile(f"along {len(monitor.tokens)} tokens$")
    )
    everything_fits(page)
    page.get_by_role("button", name="Stop watching").click()
    expect(page.locator("#readings")).to_be_hidden()


def test_hostile_text_stays_text(monitor: Monitor) -> None:
    page = monitor.page
    page.locator("#say").fill(HOSTILE)
    page.locator("#say").press("Enter")
    expect(monitor.error).to_contain_text("onerror")
    expect(page.locator("#say")).to_have_value(HOSTILE)  # nothing typed is lost
    monitor.say(WRONG)
    page.get_by_role("button", name="Edit this turn of user").click()
    page.get_by_label("New text of this turn of user").fill(SCRIPT)
    page.get_by_role("button", name="Say it so, and write").click()
    expect(page.locator(".edit-place .error")).to_contain_text("<script>")
    monitor.visit.refused("400")
    page.get_by_role("button", name="Cancel").click()

    form = page.locator("form.concept")
    form.get_by_label("concept").fill("script alert verbs")
    form.get_by_role("button", name="Find features").click()
    expect(page.locator("#steer .hits").first).to_contain_text(SCRIPT)
    page.get_by_role("button", name="Add as a card").click()
    expect(monitor.cards).to_have_count(1)
    address = f"{monitor.visit.address}/api/sessions/{page.url.split('/monitor/')[1]}"
    for what, value in (
        ("cards", [{"kind": "features", "name": HOSTILE, "features": ["mlp.2/300+"], "strength": 1}]),
        ("watches", [{"name": HOSTILE, "features": ["mlp.2/300+"]}]),
    ):
        answer = monitor.visit.context.request.post(f"{address}/{what}", data={what: value})
        assert answer.ok, answer.text()
    page.reload()
    expect(monitor.cards.locator("b")).to_have_text([HOSTILE])
    expect(page.locator("#sparks .words")).to_have_text([HOSTILE])
    page.get_by_role("button", name=HOSTILE, exact=True).hover()
    expect(page.locator("#heat")).to_contain_text("onerror")
    assert page.locator("img, main script, aside script").count() == 0


@pytest.mark.parametrize("path", ["/features", "/feature/mlp.2/300%2B", "/runs"])
def test_hostile_names_stay_text_on_other_pages(visit: Callable[..., Visit], path: str) -> None:
    page = visit().goto(path)
    assert page.locator('img[src="x"], main script').count() == 0
