"""Conversations rendered by a chat template, and which of their tokens are the messages' text."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.errors import UserError
from interp.subject.template import Messages, Refusal, rendered_chat

_MARK = "\ue000{}\ue001"
_MARKS = re.compile("\ue000\\d+\ue001")


class CannotRender(Exception):
    """Why a conversation cannot be written by the template."""


class ChatTemplate:
    """Writes conversations with a tokenizer's own chat template.

    Raises:
        UserError: the tokenizer has no template, or gives no character offsets, by which the template's
            tokens are told from those of the messages.
    """

    def __init__(self, tokenizer: Any, place: str) -> None:
        if not tokenizer.chat_template:
            raise UserError(
                "the tokenizer has no chat template, which conversations are written with",
                place,
                'use a chat model, or give {"text": "..."} on each line',
            )
        if not tokenizer.is_fast:
            raise UserError(
                "the tokenizer gives no offsets of tokens in a text, so the template's are not known",
                place,
                'save it with a tokenizer.json (a fast tokenizer), or give {"text": "..."} on each line',
            )
        self._tokenizer, self._place = tokenizer, place

    def written(self, messages: Messages) -> tuple[str, list[tuple[int, int]]]:
        """Renders a conversation; returns the text and the (start, end) characters of each message's content.

        Raises:
            CannotRender: the template refuses the messages, or changes what they say.
            UserError: it asks for more than any conversation needs.
        """
        text = self._written(messages)
        return text, self._contents(text, messages)

    def _written(self, messages: Messages) -> str:
        try:
            return rendered_chat(self._tokenizer, messages, self._place)
        except Refusal as error:
            raise CannotRender(error.thing) from error

    def _contents(self, text: str, messages: Messages) -> list[tuple[int, int]]:
        """Ranges of the contents, found by rendering marks in their places."""
        marked = self._written(
            [
                {**one, "content": _MARK.format(number)} if one.get("content") else one
                for number, one in enumerate(messages)
            ]
        )
        places = [match.span() for match in _MARKS.finditer(marked)]
        numbers = [int(marked[start + 1 : end - 1]) for start, end in places]
        edges = [(0, 0), *places, (len(marked), len(marked))]
        own = [marked[end:start] for (_, end), (start, _) in pairwise(edges)]
        if not text.startswith(own[0]):
            raise CannotRender(_CHANGES)
        spans, cursor = [], len(own[0])
        for following, number in zip(own[1:], numbers, strict=True):
            last = number == numbers[-1]
            end = _end(text, cursor, messages[number]["content"], following, last)
            spans.append((cursor, end))
            cursor = end + len(following)
        return spans


def outside(
    offsets: Sequence[tuple[int, int]], contents: Sequence[tuple[int, int]], length: int
) -> NDArray[np.bool_]:
    """Which tokens [pos] of a text hold no character of any content; all ranges count characters."""
    inside = np.zeros(length + 1, dtype=np.int64)
    for start, end in contents:
        inside[start + 1 : end + 1] = 1
    before = inside.cumsum()
    tokens = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    found: NDArray[np.bool_] = before[tokens[:, 0]] == before[tokens[:, 1]]
    return found


_CHANGES = "the chat template writes other words around it than around other messages"


def _end(text: str, start: int, content: str, following: str, last: bool) -> int:
    """Where the content that begins at `start` ends: as given, or stripped, or where `following` begins."""
    for form in (content, content.rstrip(), content.lstrip(), content.strip()):
        end = start + len(form)
        if text.startswith(form + following, start) and (not last or end + len(following) == len(text)):
            return end
    if last:
        end = len(text) - len(following)
        found = end if end >= start and text.endswith(following) else -1
    else:
        found = text.find(following, start) if following else -1
    if found < 0:
        raise CannotRender(_CHANGES)
    return found
