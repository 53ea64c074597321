"""Answers of the OpenAI door in OpenAI's form: whole, and as chunks of a stream."""

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from interp.json_text import to_json
from interp.subject.stream import TokenRead
from interp.subject.subject import Subject
from interp.web.openai_text import Asked, Piece
from interp.web.safety import explained, openai_error, status_of
from interp.web.worker import Job, Place

Json = dict[str, Any]


class Form:
    """One answer: its id, its model, and whether it is a chat's."""

    def __init__(self, subject: Subject, model: str, asked: Asked) -> None:
        self.subject, self.asked = subject, asked
        kind = "chatcmpl" if asked.chats else "cmpl"
        self.head = {"id": f"{kind}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}

    def whole(self, pieces: Sequence[Piece]) -> Json:
        """The answer at once."""
        text = "".join(one.text for one in pieces)
        content: Json = (
            {"message": {"role": "assistant", "content": text}} if self.asked.chats else {"text": text}
        )
        choice = {
            "index": 0,
            **content,
            "logprobs": self._log_probs([read for one in pieces for read in one.reads]),
            "finish_reason": pieces[-1].finish,
        }
        kind = "chat.completion" if self.asked.chats else "text_completion"
        return {**self.head, "object": kind, "choices": [choice], "usage": _usage(pieces[-1])}

    async def events(self, begun: Piece, job: Job, usage: bool) -> AsyncIterator[str]:
        """The answer as server-sent events; what goes wrong is told in one of them."""
        piece, is_first = begun, True
        try:
            yield _event(self._chunk(piece, is_first))
            async for event in job:
                if not isinstance(event, Place):
                    piece, is_first = event, False
                    yield _event(self._chunk(piece, is_first))
            if usage:
                yield _event({**self._chunk(piece, False), "choices": [], "usage": _usage(piece)})
            yield "data: [DONE]\n\n"
        except Exception as error:
            yield _event(openai_error(explained(error), status_of(error)))

    def _chunk(self, piece: Piece, is_first: bool) -> Json:
        if self.asked.chats:
            delta: Json = {"content": piece.text}
            content: Json = {"delta": {"role": "assistant", **delta} if is_first else delta}
        else:
            content = {"text": piece.text}
        log_probs = self._log_probs(piece.reads)
        choice = {"index": 0, **content, "logprobs": log_probs, "finish_reason": piece.finish}
        kind = "chat.completion.chunk" if self.asked.chats else "text_completion"
        return {**self.head, "object": kind, "choices": [choice]}

    def _log_probs(self, reads: Sequence[tuple[TokenRead, int]]) -> Json | None:
        if self.asked.top is None:
            return None
        if self.asked.chats:
            return {"content": [self._entry(read) for read, _ in reads], "refusal": None}
        return {
            "tokens": [self._string(read.token) for read, _ in reads],
            "token_logprobs": [read.log_prob for read, _ in reads],
            "top_logprobs": [self._top(read) for read, _ in reads],
            "text_offset": [place for _, place in reads],
        }

    def _entry(self, read: TokenRead) -> Json:
        top = [self._one(token, nats) for token, nats in read.alternatives]
        return {**self._one(read.token, read.log_prob), "top_logprobs": top}

    def _one(self, token: int, nats: float | None) -> Json:
        string = self._string(token)
        return {"token": string, "logprob": nats, "bytes": list(string.encode())}

    def _top(self, read: TokenRead) -> dict[str, float] | None:
        """The alternatives with the token itself; None where nothing predicts it."""
        if read.log_prob is None:
            return None
        pairs = [*read.alternatives, (read.token, read.log_prob)]
        return {self._string(token): nats for token, nats in reversed(pairs)}

    def _string(self, token: int) -> str:
        return self.subject.token_strings([token])[0]


def _usage(last: Piece) -> Json:
    return {
        "prompt_tokens": last.n_prompt,
        "completion_tokens": last.n_new,
        "total_tokens": last.n_prompt + last.n_new,
    }


def _event(content: object) -> str:
    return f"data: {to_json(content, ensure_ascii=False)}\n\n"
