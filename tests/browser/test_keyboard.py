"""Without a mouse: Tab reaches every control of every page, in the order of the page, and leaves it again."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.monitor import WRONG, Monitor
from tests.browser.test_pages import CONTENT
from tests.browser.visit import Visit

_NUMBER = """() => {
  const all = ":is(a[href], button, input, select, textarea):not(:disabled), summary, [tabindex='0']";
  const shown = (one) => one.checkVisibility({visibilityProperty: true}) && one.getClientRects().length > 0;
  const firsts = new Set();
  let n = 0;
  for (const one of document.querySelectorAll(all)) {
    if (!shown(one) || one.tabIndex < 0) continue;
    if (one.type === "radio") {
      const group = [...document.getElementsByName(one.name)];
      if (!one.checked && (group.some((other) => other.checked) || firsts.has(one.name))) continue;
      firsts.add(one.name);
    }
    one.dataset.tabNumber = n++;
  }
  return n;
}"""
_HERE = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const style = getComputedStyle(one);
  const seen = one.matches(":focus-visible") && style.outlineStyle !== "none";
  return [Number(one.dataset.tabNumber ?? -1), seen, one.outerHTML.slice(0, 120)];
}"""


def walk(page: Page) -> tuple[int, list[tuple[int, bool, str]]]:
    """How many controls there are, and what Tab comes to one after the other until it leaves the page."""
    n: int = page.evaluate(_NUMBER)
    page.keyboard.press("Shift")  # the keyboard is in use: what has the focus shows it
    page.locator("[data-tab-number='0']").focus()
    found: list[tuple[int, bool, str]] = []
    for _ in range(2 * n + 20):
        here = page.evaluate(_HERE)
        if here is None or (found and here[0] == 0):
            return n, found
        found.append((here[0], here[1], here[2]))
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never leaves the page: {found[-5:]}")


def everything_is_reached(page: Page) -> None:
    """Tab comes to every control once, in the order of the page, and each shows that it has the focus."""
    n, found = walk(page)
    numbers = [number for number, _, _ in found if number >= 0]
    assert n > 5 and numbers == list(range(n)), [one for one in found if one[0] != -1]
    assert [html for number, seen, html in found if number >= 0 and not seen] == []


@pytest.mark.parametrize("path", CONTENT)
def test_tab_reaches_every_control_in_order(visit: Callable[..., Visit], path: str) -> None:
    everything_is_reached(visit().goto(path))


def test_the_whole_story_without_a_mouse(visit: Callable[..., Visit]) -> None:
    monitor = Monitor(visit()).open()
    page = monitor.page
    tab = Tabs(page)
    tab.to("New session|plain text")
    page.keyboard.press("Enter")
    expect(page.locator("#say")).to_be_focused()
    tab.back_to("most new tokens")
    page.keyboard.press("Control+a")
    page.keyboard.type("3")
    tab.to("Text for the model to continue")
    page.keyboard.type(WRONG)
    with monitor.answering():
        page.keyboard.press("Enter")
    assert monitor.answer[0] == "14"

    tab.back_to_token()
    page.keyboard.press("End")
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    expect(page.locator(".tok:focus")).to_have_text("14")
    page.keyboard.press("Enter")
    expect(page.locator("#why-h")).to_have_text("Why “14”?")
    expect(page.locator("#why-body table.features")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#popover button:focus")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator(".tok:focus")).to_have_text("14")

    tab.to("Choose mlp.2/244-")
    page.keyboard.press("Space")
    expect(page.locator(".chosen-bar")).to_contain_text("1 chosen")

    tab.to("concept")
    page.keyboard.type("date")
    tab.to("strengthen")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    tab.to("Add as a card")
    page.keyboard.press("Enter")
    expect(monitor.cards).to_have_count(1)
    tab.back_to("Regenerate")
    with monitor.answering():
        page.keyboard.press("Enter")
    assert monitor.answer[0] == "3"
    tab.to("Compare", exact=True)
    page.keyboard.press("Enter")
    expect(page.locator("#compare-body .two")).to_be_visible()
    page.keyboard.press("Control+z")
    expect(page.locator("#turns .tok.written").first).to_have_text("14")
    page.keyboard.press("Control+Shift+z")
    expect(page.locator("#turns .tok.written").first).to_have_text("3")
    everything_is_reached(page)


class Tabs:
    """Presses Tab until something has the focus."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def to(self, name: str, key: str = "Tab", exact: bool = False) -> None:
        """Goes on to the control with this name (or these parts of it and of its group's)."""
        wanted = name.split("|")[-1]
        for _ in range(400):
            self.page.keyboard.press(key)
            said = self.page.evaluate(_NAME)
            if said == wanted or (not exact and said.startswith(wanted)):
                return
        raise AssertionError(f"{key} never comes to {name!r}")

    def back_to(self, name: str) -> None:
        """Goes back to it."""
        self.to(name, "Shift+Tab")

    def back_to_token(self) -> None:
        """Goes back to the conversation's tokens."""
        for _ in range(100):
            self.page.keyboard.press("Shift+Tab")
            if self.page.evaluate("document.activeElement.matches('.tok')"):
                return
        raise AssertionError("no token is reached")


_NAME = """() => {
  const one = document.activeElement;
  const label = one.labels?.[0]?.innerText;
  return (one.getAttribute("aria-label") || label || one.innerText || "").trim();
}"""
