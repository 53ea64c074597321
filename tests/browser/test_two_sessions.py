"""Two people at once, a model that fails, a page that is reloaded, and a server that is gone."""

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from playwright.sync_api import expect

from interp import Subject
from interp.monitor.bench import Bench
from interp.web.app import make_app
from tests.browser.monitor import WRONG, Monitor
from tests.browser.visit import Visit
from tests.web_server import before_each_pass, running, slowly

PLAIN = "the capital of france is"


def test_two_sessions_know_nothing_of_each_other(
    visit: Callable[..., Visit], app: FastAPI, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Monitor(visit()).text(), Monitor(visit()).text()
    one.say(PLAIN)
    two.say(WRONG).add_card("date")
    before = two.answer
    expect(one.cards).to_have_count(0)
    one.at_most(30)
    with monkeypatch.context() as patched:
        patched.setattr(app.state.worker, "_guarded", slowly(subject))
        with two.answering(3), one.answering(30):
            one.page.get_by_role("button", name="Regenerate").click()
            expect(one.page.locator("#status")).to_contain_text("Writing")
            two.page.get_by_role("button", name="Regenerate").click()
            expect(two.page.locator("#status")).to_have_text("Waiting: 1 request before yours")
            assert two.page.locator("#stop").is_visible()
    assert one.tokens[1:6] == PLAIN.split() and len(one.answer) == 30
    assert (before[0], two.answer[0]) == ("14", "3")
    one.page.reload()
    expect(one.page.locator("#turns .tok").nth(1)).to_have_text("the")
    expect(one.cards).to_have_count(0)
    assert [one.state["cards"], len(two.state["cards"])] == [[], 1]
    assert one.page.url != two.page.url


@pytest.mark.usefixtures("slow")
def test_it_streams_and_stops(monitor: Monitor) -> None:
    page = monitor.page
    monitor.at_most(60)
    page.locator("#say").fill(PLAIN)
    page.locator("#say").press("Enter")
    expect(page.locator("#status")).to_have_text(re.compile("Writing: [3-9] tokens of at most 60"))
    shown = len(monitor.answer)
    assert 0 < shown < 15 and page.get_by_role("button", name="Send").is_disabled()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped; what was written is kept")
    assert shown <= len(monitor.answer) < 40
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    expect(page.locator("#stop")).to_be_hidden()


def test_a_model_that_fails_midway(
    monitor: Monitor, app: FastAPI, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = monitor.page
    monitor.at_most(8)
    whole = monitor.say(PLAIN, 8).answer
    passes = 0

    def fail() -> None:
        nonlocal passes
        passes += 1
        if passes == 5:
            raise RuntimeError("/home/secret: out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(app.state.worker, "_guarded", before_each_pass(subject, fail))
        page.get_by_role("button", name="Regenerate").click()
        expect(monitor.error).to_be_visible()
    assert "secret" not in page.content() and "Traceback" not in page.content()
    expect(monitor.error).to_contain_text("To mend it")
    expect(page.locator(".branches")).to_contain_text("2/2")
    kept = monitor.answer
    assert 0 < len(kept) < 8 and kept == whole[: len(kept)]
    with monitor.answering(8):
        page.get_by_role("button", name="Regenerate").click()
    expect(monitor.error).to_be_hidden()
    assert monitor.answer == whole


def test_a_page_that_is_reloaded_while_it_writes(
    monitor: Monitor, app: FastAPI, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = monitor.page
    monitor.at_most(60)
    with monkeypatch.context() as patched:
        patched.setattr(app.state.worker, "_guarded", slowly(subject))
        page.locator("#say").fill(PLAIN)
        page.locator("#say").press("Enter")
        expect(page.locator("#status")).to_have_text(re.compile("Writing: [3-9] tokens"))
        address = page.url
        page.reload()
        expect(page.locator("#turns .tok").nth(1)).to_have_text("the")
    assert page.url == address
    expect(page.locator("#status")).not_to_contain_text("Writing")
    page.reload()
    expect(page.locator(".tok.written").first).to_be_visible()
    n = len(monitor.answer)
    assert 2 < n < 60 and monitor.tokens[1:6] == PLAIN.split()
    page.get_by_label("most new tokens").fill("2")
    page.get_by_label("most new tokens").press("Enter")
    with monitor.answering(2):
        page.get_by_role("button", name="Write on").click()
    assert len(monitor.answer) == n + 2


def test_a_server_that_is_gone(bench: Bench, visit: Callable[..., Visit]) -> None:
    with running(make_app(bench)) as address:
        monitor = Monitor(visit(address)).text().say(PLAIN)
        before = monitor.tokens
    page = monitor.page
    page.locator("#say").fill("and then")
    page.locator("#say").press("Enter")
    expect(monitor.error).to_contain_text("the server does not answer")
    expect(page.locator("#say")).to_have_value("and then")
    page.get_by_role("button", name="Regenerate").click()
    expect(monitor.error).to_contain_text("the server does not answer")
    assert monitor.tokens == before
    monitor.visit.wrong = [line for line in monitor.visit.wrong if "ERR_CONNECTION_REFUSED" not in line]
