"""A language model's endpoint for a simulated day: it fails once a minute, and remembers what it delivered.

Time is counted in requests: a minute is as many of them as a real endpoint answers in one.
"""

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from interp.llm.client import BYTES_PER_TOKEN, TOKENS_PER_TEXT
from tests import describer
from tests.endpoint_server import Act, _Handler, answers, chat_answer, dropped, refusal

TIMEOUT_SECONDS = 3.0
"""How long a client waits for an answer; the one that is late comes after that."""
TRUNCATED, NO_CHOICES, NO_ANSWER = "truncated JSON", "no choices", "a text that is no answer"
GARBAGE = "Certainly! Here is what I think, as a poem:"
ASKED_AGAIN = ("This could not be read:", "Answer with one line that begins with")
"""How the message begins with which an unreadable answer is sent back."""


def _late(handler: _Handler, body: dict[str, Any]) -> None:
    time.sleep(TIMEOUT_SECONDS + 0.5)
    handler.send(200, chat_answer(answer(body), body))


def _hung_up(handler: _Handler, body: dict[str, Any]) -> None:
    handler.close_connection = True


def _truncated(handler: _Handler, body: dict[str, Any]) -> None:
    whole = json.dumps(chat_answer(answer(body), body)).encode()
    handler.send_bytes(200, whole[: len(whole) // 2])


def _no_answer(handler: _Handler, body: dict[str, Any]) -> None:
    handler.send(200, {"id": handler.number, **chat_answer(GARBAGE, body)})


FAULTS: dict[str, Act] = {
    "429 with Retry-After": refusal(429, "slow down", {"retry-after": "0.2"}),
    "500": refusal(500, "internal error"),
    "503": refusal(503, "overloaded"),
    "connection reset within an answer": dropped,
    TRUNCATED: _truncated,
    NO_CHOICES: answers(choices=[]),
    NO_ANSWER: _no_answer,
    "an answer after the time-out": _late,
    "a page of a proxy with status 502": lambda handler, body: handler.send_bytes(502, b"<html>Bad gateway"),
    "connection closed without a word": _hung_up,
    "an error with status 200": lambda handler, body: handler.send(200, {"error": {"message": "try again"}}),
}
"""What goes wrong, one after the other, a minute each."""


def answer(body: dict[str, Any]) -> str:
    """An answer that depends on nothing but the question, also where it is asked again in other words."""
    messages = body["messages"]
    if messages[-1]["content"].startswith(ASKED_AGAIN):
        messages = messages[:-2]
    said = describer.answer({**body, "messages": messages})
    if said.startswith("[DESCRIPTION]"):  # each feature's own, so that no two questions are the same
        return f"[DESCRIPTION]: words with e, {digest({**body, 'messages': messages})[:8]}"
    return said


def digest(body: dict[str, Any]) -> str:
    """The hash of a request."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def might_use(body: dict[str, Any]) -> tuple[int, int]:
    """The tokens that the client counts for an answer that it cannot read."""
    sizes = (len(message["content"].encode()) for message in body["messages"])
    return sum(int(size / BYTES_PER_TOKEN) + TOKENS_PER_TEXT for size in sizes), body["max_tokens"]


@dataclass
class Day:
    """What the endpoint does, and what it did.

    `per_minute`: requests of a simulated minute, whose first one meets the next of `faults`.
    `delivered`: the question of each whole and readable answer that was sent, by the answer's number.
    `asked`: the requests for each question, by the numbers that they had.
    `met`: how often each fault was met. `delivered_tokens` are those of whole answers, `lost_tokens` those
    that a client has to count for the others.
    """

    per_minute: int
    faults: Sequence[str] = tuple(FAULTS)
    requests: int = 0
    delivered: dict[int, str] = field(default_factory=dict)
    asked: dict[str, list[int]] = field(default_factory=dict)
    met: dict[str, int] = field(default_factory=dict)
    delivered_tokens: int = 0
    lost_tokens: int = 0
    first_since: float | None = None
    """When the first request came since this was last set to None (`time.monotonic`)."""
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def minute(self) -> int:
        """How many minutes have gone by."""
        return self.requests // self.per_minute

    def act(self, handler: _Handler, body: dict[str, Any]) -> None:
        """Answer a request, or meet it with a fault if it is the first of its minute."""
        question = digest(body)
        with self._guard:
            minute, place = divmod(self.requests, self.per_minute)
            self.requests += 1
            self.first_since = self.first_since or time.monotonic()
            self.asked.setdefault(question, []).append(handler.number)
            fault = self.faults[minute % len(self.faults)] if self.faults and not place else ""
            if fault:
                self.met[fault] = self.met.get(fault, 0) + 1
        used = might_use(body) if fault == TRUNCATED else (0, 0)
        if fault:
            FAULTS[fault](handler, body)
        else:
            handler.send(200, {"id": handler.number, **(content := chat_answer(answer(body), body))})
        if fault in (NO_CHOICES, NO_ANSWER):
            content = chat_answer("yes" if fault == NO_CHOICES else GARBAGE, body)
        if not fault or fault in (NO_CHOICES, NO_ANSWER):
            used = tuple(content["usage"].values())
        with self._guard:
            if not fault or fault == NO_ANSWER:
                self.delivered[handler.number] = question
                self.delivered_tokens += sum(used)
            else:
                self.lost_tokens += sum(used)
