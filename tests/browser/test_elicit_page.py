"""The page Elicit in use: started, watched, stopped, gone on with, confirmed, opened in the Monitor."""

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from playwright.sync_api import Page, expect

from interp import Subject
from interp.monitor.bench import Bench
from interp.monitor.knowledge import Knowledge
from interp.web.app import make_app
from tests.browser.accessibility import everything_fits
from tests.browser.conftest import HOSTILE
from tests.browser.visit import NARROW, Visit, is_too_wide, tokens_of
from tests.web_server import running, slowly

SPENT = "The budget is spent."
LONG = 120_000  # milliseconds: many passes of the model


def begin(page: Page, passes: int = 100) -> None:
    page.get_by_label("Budget").fill(str(passes))
    page.get_by_role("button", name="Start a search").click()


def number(page: Page, words: str) -> int:
    found = re.search(rf"([\d,]+) {words}", page.locator("#said").inner_text())
    assert found is not None, page.locator("#said").inner_text()
    return int(found[1].replace(",", ""))


def test_from_a_start_to_a_find_that_is_confirmed_and_opened(visit: Callable[..., Visit]) -> None:
    page = visit().goto("/elicit")
    expect(page.locator("#what-says")).to_contain_text("one of these words")
    page.get_by_label("The way to search").select_option("templates")
    expect(page.locator("#investigator-says")).to_contain_text("the best prompts so far")
    begin(page, 150)
    expect(page.locator("#status")).to_have_text(SPENT, timeout=LONG)
    expect(page.locator("#said")).to_contain_text("of prompts at random")
    assert number(page, "of ") > 10
    first = page.locator(".tries tbody tr").first
    expect(first).to_contain_text("i can not help with that .")
    expect(page.locator("#curve svg")).to_have_attribute("aria-label", re.compile("passes spent"))
    page.get_by_role("button", name="Confirm: try").first.click()
    expect(page.locator(".confirmed").first).to_contain_text("At temperature 1")
    everything_fits(page)
    address = page.url
    page.get_by_role("radio", name="the last round").check()
    expect(page.locator(".tries .how", has_text="from #").first).to_be_visible()
    page.reload()
    expect(page.locator(".confirmed").first).to_contain_text("At temperature 1")
    expect(page.get_by_label("The way to search")).to_have_value("templates")
    assert page.url == address
    prompt = page.locator(".tries td.prompt").first.inner_text()
    page.get_by_role("button", name="Open in the Monitor").first.click()
    page.wait_for_url("**/monitor/**")
    expect(page.locator("#turns .tok", has_text="help")).to_be_visible()
    said = " ".join(tokens_of(page))
    assert prompt in said and "i can not help with that ." in said
    page.locator("#turns .tok", has_text="help").click()
    expect(page.locator("#why-body")).to_contain_text("help")


def test_it_stops_and_goes_on(
    visit: Callable[..., Visit], app: FastAPI, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit(size=NARROW).goto("/elicit")
    page.get_by_label("temperature").fill("1")
    with monkeypatch.context() as patched:
        patched.setattr(app.state.worker, "_guarded", slowly(subject, 0.02))
        begin(page, 2000)
        expect(page.locator("#status")).to_have_text(re.compile("Searching: [1-9]"), timeout=LONG)
        expect(page.locator("#start")).to_be_disabled()
        page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped; what was found is kept.")
    kept = number(page, "passes")
    assert 0 < kept < 2000 and not is_too_wide(page)
    page.reload()
    expect(page.locator("#status")).to_contain_text("not finished")
    assert number(page, "passes") == kept
    page.locator("#more-passes").fill(str(kept + 100))
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#status")).to_have_text(SPENT, timeout=LONG)
    assert kept < number(page, "passes") <= kept + 100
    expect(page.locator("#more-passes")).to_have_value(str(2 * (kept + 100)))


def test_what_is_wrong_is_told_beside_its_field_by_keys_alone(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.goto("/elicit")
    page.get_by_label("What goes into the slots").fill("verb fix")
    page.get_by_label("What goes into the slots").press("Tab")
    page.locator("#what").press("Enter")
    slots = page.locator(".error[data-field=slots]")
    expect(slots).to_contain_text("'verb fix' is no slot")
    expect(page.get_by_label("What goes into the slots")).to_be_focused()
    everything_fits(page)
    page.get_by_label("What goes into the slots").fill("verb: fix\nobject: car, dog")
    page.get_by_label("The way to search").select_option("tokens")
    page.locator("#example-part summary").click()
    page.locator("#example").fill("")
    page.locator("#what").press("Enter")
    expect(page.locator(".error[data-field=example]")).to_contain_text("aims at a reply")
    expect(slots).to_be_hidden()
    page.get_by_label("The behaviour", exact=True).select_option("feature")
    page.locator("#what").fill("mlp.99/1")
    page.get_by_label("at least").fill("much")
    page.locator("#what").press("Enter")
    expect(page.locator(".error[data-field~=what]")).to_contain_text("number")
    one.refused("400")


def test_hostile_prompts_and_replies_are_text(pydoc: Subject, visit: Callable[..., Visit]) -> None:
    with running(make_app(Bench(pydoc, Knowledge("pydoc"), []))) as address:
        one = visit(address)
        page = one.goto("/elicit")
        page.locator("#what").fill("no such words")
        page.get_by_label("Prompts to begin from").fill(HOSTILE)
        page.get_by_label("What goes into the slots").fill("")
        page.get_by_label("temperature").fill("1")
        begin(page, 100)
        expect(page.locator("#status")).to_have_text(SPENT, timeout=LONG)
        expect(page.locator(".tries td.prompt").first).to_have_text(HOSTILE)
        assert page.locator(".tries img").count() == 0
        expect(page.locator("#said")).to_contain_text("None of")
        page.goto(f"{address}/elicit/nobody")
        expect(page.locator("#error")).to_contain_text("no such search")
        one.refused("404")
