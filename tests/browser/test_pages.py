"""Every page of the app: what is on it, who can use it, how wide and large it is, and what it asks for."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import barriers, everything_fits
from tests.browser.conftest import HOSTILE
from tests.browser.monitor import WRONG
from tests.browser.visit import NARROW, WIDE, Visit, is_too_wide

CONTENT = {
    "/monitor": "#talk #say",
    "/features": "#found tr:has-text('mlp.2/244-')",
    "/feature/mlp.2/244-": "#exemplars .tokens",
    "/compare": "#both tbody tr",
    "/lens": "#prompt",
    "/circuits": "#find",
    "/vectors": "#list :text('noise')",
    "/elicit": "#start",
    "/runs": "#runs :text('toy')",
}
"""The pages, and what must stand on each."""
CHARTS = ("vega",)
"""Files that only pages with charts load are counted on their own."""
MOST_BYTES = 300_000


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("path", CONTENT)
def test_a_page_is_whole_and_fit_for_all(
    visit: Callable[..., Visit], path: str, size: tuple[int, int]
) -> None:
    one = visit(size=size)
    page = one.goto(path)
    expect(page.locator(CONTENT[path]).first).to_be_visible()
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert barriers(page) == []
        assert not is_too_wide(page)
    own = {name: n for name, n in one.bytes.items() if not any(chart in name for chart in CHARTS)}
    assert sum(own.values()) < MOST_BYTES, own


def look_at_features(page: Page) -> None:
    page.locator("#words").fill("date")
    page.locator("#words").press("Enter")
    expect(page.locator("#asked")).to_contain_text("date")
    expect(page.locator("#found tbody tr", has_text="date").first).to_be_visible()
    page.reload()
    expect(page.locator("#words")).to_have_value("date")
    expect(page.locator("#found tbody tr", has_text="date").first).to_be_visible()


def try_a_feature(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill(WRONG)
    page.get_by_role("button", name="Read it").click()
    expect(page.locator("#try-result .tokens").first).to_contain_text("larger")


def read_layers(page: Page) -> None:
    page.locator("#prompt").fill(WRONG)
    page.get_by_role("button", name="Read", exact=True).click()
    expect(page.locator("#grid")).to_contain_text("14")


def swap_sides(page: Page) -> None:
    rows = page.locator("#both tbody tr")
    first, second = (rows.nth(i).inner_text().splitlines()[0] for i in (0, 1))
    assert first != second
    page.get_by_role("button", name="Swap").click()
    expect(rows.first).to_contain_text(second)
    expect(rows.nth(1)).to_contain_text(first)


def find_a_run(page: Page) -> None:
    expect(page.locator("#runs")).to_contain_text(HOSTILE)
    page.get_by_label("Name, experiment or metric").fill("toy_folder")
    expect(page.locator("#runs tbody tr")).to_have_count(1)


@pytest.mark.parametrize(
    ("path", "use"),
    [
        ("/features", look_at_features),
        ("/feature/mlp.2/244-", try_a_feature),
        ("/lens", read_layers),
        ("/compare", swap_sides),
        ("/runs", find_a_run),
    ],
)
def test_a_page_in_use(visit: Callable[..., Visit], path: str, use: Callable[[Page], None]) -> None:
    page = visit().goto(path)
    use(page)
    everything_fits(page)


def test_light_and_dark_differ(visit: Callable[..., Visit]) -> None:
    seen = [
        visit(scheme=scheme).goto("/monitor").evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert seen[0] != seen[1]


def test_pages_lead_to_each_other(visit: Callable[..., Visit]) -> None:
    page = visit().goto("/")
    links = page.get_by_role("navigation", name="Pages").get_by_role("link")
    names = links.all_inner_texts()
    assert names == ["Monitor", "Features", "Compare", "Lens", "Circuits", "Vectors", "Elicit", "Runs"]
    for name in names[1:]:
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        expect(page.locator('nav [aria-current="page"]')).to_have_text(name)


def test_the_checks_themselves_find_what_is_wrong(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.goto("/features")
    assert one.wrong == [] and barriers(page) == [] and not is_too_wide(page)
    with page.expect_event("requestfailed"):
        page.evaluate(
            """() => {
              const main = document.querySelector("main");
              const added = (tag) => main.appendChild(document.createElement(tag));
              const add = (tag, attributes) => Object.assign(added(tag), attributes);
              add("button", {});
              add("p", {textContent: "pale"}).style.setProperty("color", "#bbb");
              add("div", {textContent: "wide"}).style.setProperty("width", "3000px");
              add("img", {alt: "", src: "http://elsewhere.invalid/x.png"});
              add("script", {textContent: "alert(1)"});
            }"""
        )
    found = "\n".join(barriers(page))
    assert "button-name" in found and "color-contrast" in found
    assert is_too_wide(page)
    assert any("Content Security Policy" in line for line in one.wrong), one.wrong
    assert "request: http://elsewhere.invalid/x.png" in one.wrong
    one.wrong.clear()
    with page.expect_console_message():
        page.evaluate("fetch('/api/sessions/nobody')")
    one.refused("404")
