"""A page in a browser context of its own, which notes all that goes wrong on it."""

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, Response, expect

WIDE, NARROW = (1280, 800), (390, 844)
SECONDS = 90
"""How long is waited for what should be there; every machine is slow at times."""
expect.set_options(timeout=SECONDS * 1000)


class Visit:
    """One visitor: no cookie, no storage and no session is shared with another."""

    def __init__(
        self, browser: Browser, address: str, size: tuple[int, int] = WIDE, scheme: Any = "light"
    ) -> None:
        self.address = address
        self.wrong: list[str] = []
        self.bytes: dict[str, int] = {}
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.context.set_default_timeout(SECONDS * 1000)
        self.page = self.watched(self.context.new_page())

    def watched(self, page: Page) -> Page:
        """Notes what goes wrong on this page too."""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", self._asked)
        page.on("request", self._requested)
        page.on("response", self._answered)
        return page

    def goto(self, path: str) -> Page:
        """Opens a page of the app, and waits until nothing more is loaded."""
        self.page.goto(self.address + path, wait_until="networkidle")
        return self.page

    def refused(self, *parts: str) -> None:
        """Takes note that answers of these statuses were meant to come, and nothing else went wrong."""
        expected = [line for line in self.wrong if any(f"status of {part}" in line for part in parts)]
        assert expected, f"nothing was refused with {parts}"
        self.wrong = [line for line in self.wrong if line not in expected]

    def close(self) -> None:
        """Closes the context."""
        self.context.close()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _asked(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _requested(self, request: Request) -> None:
        scheme, host = urlsplit(request.url)[:2]
        if scheme not in ("data", "blob") and f"{scheme}://{host}" != self.address:
            self.wrong.append(f"request: {request.url}")

    def _answered(self, response: Response) -> None:
        path = urlsplit(response.url).path
        length = response.headers.get("content-length")
        self.bytes[path] = int(length) if length else 0


def tokens_of(page: Page) -> list[str]:
    """The tokens of the conversation as they stand on the page."""
    found: list[str] = page.locator("#turns .tok").evaluate_all("all => all.map(one => one.innerText.trim())")
    return found


def is_too_wide(page: Page) -> bool:
    """Whether the page can be scrolled to the side."""
    wide: bool = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wide
