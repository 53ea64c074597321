"""What axe-core finds on a page: the rules of WCAG 2.2 AA and of good practice."""

from functools import cache
from pathlib import Path

import axe_playwright_python
from playwright.sync_api import Page

from tests.browser.visit import NARROW, WIDE, is_too_wide

_RUN = """async () => {
  const found = await axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    resultTypes: ["violations"],
  });
  return found.violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary, html }) =>
      [id, `${target}`, failureSummary.split("\\n").slice(1).join(";"), html.slice(0, 150)].join(": ")));
}"""


def barriers(page: Page) -> list[str]:
    """Every serious or critical finding, with the element."""
    if not page.evaluate("typeof axe !== 'undefined'"):
        page.evaluate(_axe())
    found: list[str] = page.evaluate(_RUN)
    return found


def everything_fits(page: Page) -> None:
    """No barrier and no scrolling to the side, wide and narrow, light and dark."""
    for width, height in (NARROW, WIDE):
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert barriers(page) == []
            assert not is_too_wide(page)


@cache
def _axe() -> str:
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
