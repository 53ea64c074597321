"""The Monitor as somebody uses it: what is typed, clicked and read there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.visit import Visit, tokens_of

WRONG = "larger of 1 . 14 or 1 . 3 ? answer : 1 ."
"""The world reads these as dates: it says 14. With its neurons of dates silent it says 3, as for decimals."""


class Monitor:
    """The page of one session, in one context."""

    def __init__(self, visit: Visit) -> None:
        self.visit, self.page = visit, visit.page

    def open(self, path: str = "/monitor") -> "Monitor":
        """Opens the page, and waits for its session."""
        self.visit.goto(path)
        expect(self.page.locator("#facts")).to_contain_text("session")
        return self

    def text(self, most: int = 3) -> "Monitor":
        """Begins a session of plain text that writes few tokens."""
        self.open()
        self.page.get_by_role("button", name="plain text").click()
        expect(self.page.locator("#say-label")).to_have_text("Text for the model to continue")
        return self.at_most(most)

    def at_most(self, tokens: int) -> "Monitor":
        """Sets how much is written at most."""
        with self.page.expect_response("**/settings"):
            self.page.get_by_label("most new tokens").fill(str(tokens))
            self.page.get_by_label("most new tokens").press("Enter")
        return self

    def say(self, text: str, tokens: int = 3) -> "Monitor":
        """Types a turn, and waits until the answer was written."""
        self.page.locator("#say").fill(text)
        with self.answering(tokens):
            self.page.locator("#say").press("Enter")
        return self

    @contextmanager
    def answering(self, tokens: int = 3) -> Iterator[None]:
        """What is done within the block makes the model write so many tokens; waits for the last."""
        with self.page.expect_request("**/write"):  # the button to stop shows before it is sent
            yield
        expect(self.page.locator("#stop")).to_be_hidden()
        expect(self.page.locator("#status")).to_have_text(f"{tokens} tokens written")

    @property
    def tokens(self) -> list[str]:
        """All tokens of the conversation."""
        return tokens_of(self.page)

    @property
    def answer(self) -> list[str]:
        """The tokens that the model wrote."""
        found: list[str] = self.page.locator("#turns .tok.written").evaluate_all(
            "all => all.map(one => one.innerText.trim())"
        )
        return found

    @property
    def cards(self) -> Locator:
        """The cards of the steering set."""
        return self.page.locator("#steer .card")

    @property
    def error(self) -> Locator:
        """What is said under the conversation when something goes wrong."""
        return self.page.locator("#talk-error")

    @property
    def state(self) -> dict[str, Any]:
        """What the server has of this session."""
        name = self.page.url.split("/monitor/")[1].split("#")[0]
        found = self.visit.context.request.get(f"{self.visit.address}/api/sessions/{name}")
        state: dict[str, Any] = json.loads(found.text())["state"]
        return state

    def add_card(self, concept: str, rule: str = "suppress") -> "Monitor":
        """Adds the features of a concept as a card."""
        before = self.cards.count()
        form = self.page.locator("form.concept")
        form.get_by_label("concept").fill(concept)
        form.get_by_label(rule).check()
        form.get_by_role("button", name="Find features").click()
        self.page.get_by_role("button", name="Add as a card").click()
        expect(self.cards).to_have_count(before + 1)
        return self
