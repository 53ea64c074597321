"""What is asked of an endpoint and what it answers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


TURN_END = "\n\n"
"""Where a turn of a conversation in plain text ends."""


def as_text(messages: Sequence[Message]) -> str:
    """Writes a conversation as plain text, which a base model, without a chat template, continues."""
    opens = {"system": "", "user": "Question:\n", "assistant": "Answer: "}
    closes = {"system": TURN_END, "user": "\n", "assistant": TURN_END}
    # a blank line within a turn would end it
    turns = (re.sub(r"\n\s*\n", "\n", one.content) for one in messages)
    written = "".join(
        opens[one.role] + turn + closes[one.role] for one, turn in zip(messages, turns, strict=True)
    )
    return written + opens["assistant"].rstrip()


@dataclass(frozen=True)
class Request:
    """A chat completion.

    `sample` tells apart requests that are alike but are to be answered independently (temperature 1): it is
    part of the cache's key and, where the server knows seeds, of the seed. `schema` is a JSON schema that the
    answer has to follow; `top_logprobs` the number of alternatives wanted for each generated token.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 512
    temperature: float = 0.0
    sample: int = 0
    schema: dict[str, Any] | None = None
    top_logprobs: int = 0


@dataclass(frozen=True)
class TokenLogprobs:
    """A token of a prompt or an answer, its natural log-probability, and those of its alternatives."""

    token: str
    logprob: float | None
    top: dict[str, float]


@dataclass(frozen=True)
class Usage:
    """Tokens that a call used, as the server counted them."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Reply:
    """An answer: its text, why it ended, what it used; `cached` if it came from disk and cost nothing.

    The text is without thoughts, and empty where the answer was cut off (`finish_reason` is "length").
    """

    text: str
    finish_reason: str
    usage: Usage
    logprobs: tuple[TokenLogprobs, ...] | None = None
    cached: bool = False
