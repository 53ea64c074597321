"""Ask a language model, within a budget; equal questions are asked once, and every call is recorded."""

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel

from interp.errors import UserError
from interp.llm.budget import Budget
from interp.llm.cache import Cache, cache_key
from interp.llm.capabilities import Capabilities
from interp.llm.endpoint import Endpoint
from interp.llm.ledger import Call, Ledger, Outcome
from interp.llm.parse import (
    CUT_OFF,
    Unreadable,
    completion_of,
    embeddings_of,
    json_words,
    prompt_logprobs_of,
    reply_of,
    used_by,
    value_of,
)
from interp.llm.request import Message, Reply, Request, TokenLogprobs, Usage, as_text
from interp.llm.running import run_with
from interp.llm.transport import Answered, GaveUp, Lost, Refused, Transport
from interp.secrets import keep_secret

__all__ = ["Client", "Unreadable", "run_with"]

Model = TypeVar("Model", bound=BaseModel)
Send = Callable[[Lost], Awaitable[Answered]]
TEXTS_PER_CALL = 256
BYTES_PER_TOKEN = 2.5
"""Less than in plain text, so that rather too many tokens of a budget are reserved."""
TOKENS_PER_TEXT = 8
"""Tokens that a chat template puts around a turn."""
LONGEST_REPEATED = 20_000
"""Most characters of an unreadable answer that are quoted when it is asked for again."""
PROMPT_WAYS = ("logprobs", "prompt_logprobs")
"""The parameter that asks for a prompt's log-probabilities: of the completions API (with echo), of vLLM."""


class Client:
    """An endpoint with a budget, a cache and a ledger; `run_with` runs what uses it.

    `named` gives the same client for another purpose, which the ledger notes.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        cache: Cache | None = None,
        ledger: Ledger | None = None,
        purpose: str = "",
        reread: int = 1,
        transport: type[Transport] = Transport,
    ) -> None:
        """Connect to nothing yet; `reread` are further tries after an answer that cannot be read.

        `transport` sends the requests; benchmarks replace it to leave out HTTP.

        Raises:
            UserError: the address is not one, there is no key, or the budget is spent already.
        """
        endpoint.check()
        self.endpoint = endpoint
        self.purpose = purpose
        self.reread = reread
        self._cache = cache
        self._ledger = ledger
        self._budget = Budget(endpoint, *(ledger.spent(endpoint.model, endpoint.host) if ledger else (0, 0)))
        self._can = Capabilities(endpoint, transport)
        self._secret = keep_secret(endpoint.key())

    @property
    def name(self) -> str:
        """The model and where it answers."""
        return f"{self.endpoint.model} at {self.endpoint.host}"

    @property
    def spent_usd(self) -> float:
        """Money spent on the endpoint by this client, and by earlier ones with the same ledger."""
        return self._budget.usd

    def named(self, purpose: str) -> "Client":
        """The same client, whose calls are recorded under another purpose."""
        other = copy.copy(self)
        other.purpose = purpose
        return other

    async def chat(self, request: Request) -> Reply:
        """The answer to a conversation.

        Raises:
            BudgetSpent: the call does not fit the budget.
            UserError: nobody answers, the key is refused, there is no such model, the request is refused, or
                the last try's answer is malformed.
        """
        most = request.max_tokens + self.endpoint.thinking_tokens
        most = min(most, self.endpoint.max_tokens_per_call or most)
        # vars, not asdict: a schema need not be copied for each of many calls
        messages = [dict(vars(message)) for message in request.messages]
        question = {**vars(request), "messages": messages, "max_tokens": most}
        might = (_size(message["content"] for message in messages), most)

        kind, path, read = {
            "chat": ("chat", "/chat/completions", reply_of),
            "completions": ("completed chat", "/completions", completion_of),
        }[self.endpoint.api]

        async def send(lost: Lost) -> Answered:
            return await self._posted(path, lambda: self._chat_body(request, messages, most), lost)

        body, cached = await self._ask(kind, question, might, send, lambda body: read(body, False, might))
        return read(body, cached, might)

    async def structured(
        self,
        request: Request,
        kind: type[Model],
        reread: int | None = None,
        amiss: Callable[[Model], str] = lambda value: "",
    ) -> Model:
        """Ask for an answer as a pydantic model; one that cannot be read is sent back with what is wrong.

        `reread` is how often (by default the client's own number). `amiss` says what is wrong with an answer
        of the right form, such as its length, or gives an empty text.

        Raises:
            Unreadable: no answer could be read; the caller counts it.
        """
        schema = _schema(kind)
        asked = replace(request, schema=schema)
        tries = self.reread if reread is None else reread
        for attempt in range(tries + 1):
            reply = await self.chat(asked)
            try:
                if reply.finish_reason in CUT_OFF:
                    raise Unreadable("the answer was cut off: it has to be shorter", reply.text)
                value = value_of(reply.text, kind, self._secret.hidden)
                if wrong := amiss(value):
                    raise Unreadable(wrong, reply.text)
                return value
            except Unreadable as error:
                if attempt == tries:
                    await self.note_unreadable()
                    raise
                said = f"This could not be read: {error.reason}. {json_words(schema)}"
                bad = Message("assistant", reply.text[:LONGEST_REPEATED] or "(nothing)")
                asked = replace(asked, messages=(*asked.messages, bad, Message("user", said)))
        raise AssertionError("unreachable")

    async def note_unreadable(self) -> None:
        """Record that the answers to a question could not be read."""
        self._note("chat", Usage(0, 0), 0.0, 0, "unreadable")

    async def prompt_logprobs(self, prompt: str, top: int = 5) -> tuple[TokenLogprobs, ...]:
        """The log-probability of each token of a prompt, with `top` alternatives.

        Raises:
            UserError: the server gives none.
        """
        if self.endpoint.prompt_logprobs is False:
            raise self._no_prompt_logprobs("the config says so")
        said = "its answers have none"
        known = self._can.prompt_way
        for number in range(len(PROMPT_WAYS)) if known is None else (known,):
            body = {"model": self.endpoint.model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0}
            body |= {PROMPT_WAYS[number]: top, **({"echo": True} if number == 0 else {})}
            try:
                answer, _ = await self._ask(
                    "completion", body, (_size([prompt]), 1), self._sender("/completions", body),
                    lambda given: prompt_logprobs_of(given, prompt),
                )  # fmt: skip
            except Refused as error:
                said = error.message
                continue
            if (found := prompt_logprobs_of(answer, prompt)) is not None:
                self._can.prompt_way = number
                return found
        raise self._no_prompt_logprobs(said)

    async def embed(self, texts: Sequence[str], width: int = 0) -> list[list[float]]:
        """A vector of `width` numbers for each text, in the order given; 0 allows any one width.

        Raises:
            UserError: as `chat`; or the vectors have another width, or several.
        """
        parts = [list(texts[i : i + TEXTS_PER_CALL]) for i in range(0, len(texts), TEXTS_PER_CALL)]
        if len(parts) > 1 and not width:
            width = len((await self._embed(parts[0], 0))[0])
        found = await asyncio.gather(*(self._embed(part, width) for part in parts))
        return [vector for part in found for vector in part]

    async def _embed(self, texts: list[str], width: int) -> list[list[float]]:
        body = {"model": self.endpoint.model, "input": texts, "encoding_format": "float"}
        try:
            answer, _ = await self._ask(
                "embedding", body, (_size(texts), 0), self._sender("/embeddings", body),
                lambda given: embeddings_of(given, len(texts), width),
            )  # fmt: skip
        except Refused as error:
            raise self._refused(error) from None
        return embeddings_of(answer, len(texts), width)

    async def _ask(
        self,
        kind: str,
        question: Mapping[str, Any],
        might: tuple[int, int],
        send: Send,
        read: Callable[[dict[str, Any]], object],
    ) -> tuple[dict[str, Any], bool]:
        """The body of an answer, and whether it came from the cache; equal questions in flight are one call.

        An answer for which `read` gives None or raises is not cached, and asked for again if it was. `might`
        are the most tokens, of prompt and answer, that the call may use.
        """
        whom = {"base_url": self.endpoint.base_url, "model": self.endpoint.model}
        key = cache_key({**whom, "kind": kind, "question": question})
        if self._cache is not None and key in self._cache:
            kept = self._cache.get(key)
            if kept is not None and _can_be_read(kept, read):
                self._note(kind, Usage(0, 0), 0.0, 0, "cached")
                return kept, True
            self._note(kind, Usage(0, 0), 0.0, 0, "unreadable")
        connection = self._can.connection()
        if connection.closed:
            raise UserError("the client is closed", self.name, "make all calls before closing it")
        flights = connection.flights
        if (flight := flights.get(key)) is None:
            flight = flights[key] = asyncio.ensure_future(self._fly(kind, key, might, send, read))
            flight.add_done_callback(lambda done: _landed(flights, key, done))
        await asyncio.wait([flight])  # if the caller is cancelled, the call goes on
        return flight.result(), False

    async def _fly(
        self,
        kind: str,
        key: str,
        might: tuple[int, int],
        send: Send,
        read: Callable[[dict[str, Any]], object],
    ) -> dict[str, Any]:
        connection = self._can.connection()
        async with connection.room:
            if connection.closing:
                raise asyncio.CancelledError
            await self._budget.reserve(*might)
            if connection.closing:
                self._budget.settle(*might, (0, 0))
                raise asyncio.CancelledError
            held, lost_tokens = True, (0, 0)

            async def lost(used: tuple[int, int] = might) -> None:
                """Count an answer that cannot be read, as having used all that it might or what it says."""
                nonlocal held, lost_tokens
                self._budget.settle(*might, used)
                held, lost_tokens = False, (lost_tokens[0] + used[0], lost_tokens[1] + used[1])
                await self._budget.reserve(*might)
                held = True

            used, retries, started = (0, 0), 0, time.monotonic()
            outcome: Outcome = "failed"
            try:
                while True:
                    answered = await send(lost)
                    used, retries = used_by(answered.body, might), retries + answered.retries
                    try:
                        good = read(answered.body) is not None
                        break
                    except UserError:  # it has another form, as one of many may have
                        if retries >= self.endpoint.retries:
                            raise
                        await lost(used)
                        used = (0, 0)
                        await connection.transport.pause(retries)
                        if connection.closing:
                            raise
                    retries += 1
                outcome = "answered"
            except GaveUp as error:
                retries += error.retries
                raise
            finally:
                if held:
                    self._budget.settle(*might, used)
                used = (used[0] + lost_tokens[0], used[1] + lost_tokens[1])
                self._note(kind, Usage(*used), time.monotonic() - started, retries, outcome)
        if self._cache is not None and good:
            self._cache.put(key, answered.body)
        return answered.body

    async def _posted(self, path: str, body: Callable[[], dict[str, Any]], lost: Lost) -> Answered:
        """Send a request, and after a refusal again without what the server does not support."""
        while True:
            sent = body()
            try:
                return await self._can.connection().transport.post(path, sent, lost)
            except Refused as error:
                if not self._can.do_without(error.message, sent):
                    raise self._refused(error) from None

    def _sender(self, path: str, body: Mapping[str, Any]) -> Send:
        return lambda lost: self._can.connection().transport.post(path, body, lost)

    def _chat_body(self, request: Request, messages: list[dict[str, str]], most: int) -> dict[str, Any]:
        plain = self.endpoint.api == "completions"
        asked = {"prompt": as_text(request.messages)} if plain else {"messages": messages}
        body: dict[str, Any] = {"model": self.endpoint.model, **asked, self._can.length_name: most}
        if self._can.has("temperature"):
            body["temperature"] = request.temperature
        if request.temperature > 0 and self._can.has("seed"):
            body["seed"] = request.sample
        if plain:  # worked examples show the form of the answer
            return body
        if request.top_logprobs and self._can.has("logprobs"):
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if request.schema is None:
            return body
        way = self._can.schema_way
        if way == "schema":
            shape = {"name": "answer", "schema": request.schema, "strict": True}
            return body | {"response_format": {"type": "json_schema", "json_schema": shape}}
        body["messages"] = [*messages, asdict(Message("user", json_words(request.schema)))]
        return body | ({"response_format": {"type": "json_object"}} if way == "object" else {})

    def _note(self, kind: str, usage: Usage, seconds: float, retries: int, outcome: Outcome) -> None:
        if self._ledger is None:
            return
        usd = self.endpoint.usd(usage.prompt_tokens, usage.completion_tokens)
        self._ledger.record(
            Call(
                datetime.now(UTC).isoformat(timespec="seconds"), self.purpose, self.endpoint.model,
                self.endpoint.host, kind, usage.prompt_tokens, usage.completion_tokens, usd,
                round(seconds, 3), retries, outcome,
            )
        )  # fmt: skip

    def _refused(self, error: Refused) -> UserError:
        return UserError(
            f"the endpoint refuses the request: {error.message}",
            self.name,
            "see what it says; a shorter prompt, another model or other capability flags may help",
        )

    def _no_prompt_logprobs(self, said: str) -> UserError:
        return UserError(
            f"the endpoint gives no log-probabilities of a prompt ({said})",
            self.name,
            "use the structured simulator, or a server that gives them, such as vLLM",
        )

    async def close(self) -> None:
        """Wait for the calls in flight and keep their answers, start no more, and close the connection."""
        await self._can.close()


def _can_be_read(body: dict[str, Any], read: Callable[[dict[str, Any]], object]) -> bool:
    try:
        return read(body) is not None
    except UserError:
        return False


def _landed(flights: dict[str, asyncio.Task[dict[str, Any]]], key: str, flight: asyncio.Task[Any]) -> None:
    flights.pop(key, None)
    if not flight.cancelled():
        flight.exception()  # marked as seen: without a caller that waits for it, asyncio would log it


@cache
def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    return kind.model_json_schema()


def _size(texts: Iterable[str]) -> int:
    """Estimate how many tokens some texts have, rather too many than too few."""
    return sum(
        int(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN) + TOKENS_PER_TEXT for text in texts
    )
