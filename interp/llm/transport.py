"""One call over HTTP, tried again where that may help; what a person can put right is a `UserError`."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any

import httpx2
import openai

from interp.errors import UserError, similar_names
from interp.json_text import each_string, from_json
from interp.llm.endpoint import Endpoint
from interp.llm.http import TooLong, open_client
from interp.outside import whole_characters
from interp.secrets import keep_secret

LONGEST_MESSAGE = 300
Lost = Callable[[], Awaitable[None]]


class Refused(Exception):
    """The server rejects the request in this form; `message` is what it says."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class GaveUp(UserError):
    """The last try failed; `retries` tries came before it."""

    def __init__(self, thing: str, place: str, fix: str, retries: int) -> None:
        super().__init__(thing, place, fix)
        self.retries = retries


@dataclass(frozen=True)
class Answered:
    """The answer's body, and how many tries came before."""

    body: dict[str, Any]
    retries: int


class Transport:
    """The connection to one server, for one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connects to nothing yet.

        Raises:
            UserError: there is no key, or the environment's proxy cannot be used.
        """
        self._endpoint = endpoint
        key = endpoint.key()
        self._secret = keep_secret(key)
        self._random = random.Random()
        self.closing = asyncio.Event()
        self._sdk = openai.AsyncOpenAI(
            api_key=key,
            base_url=endpoint.base_url,
            timeout=endpoint.timeout_seconds,
            max_retries=0,
            http_client=open_client(endpoint),
        )

    async def post(self, path: str, body: Mapping[str, Any], lost: Lost) -> Answered:
        """Sends a request until it is answered; the key and lone surrogates are taken out of the answer.

        `lost` is called for every answer that arrived but cannot be read, as it may have to be paid for.

        Raises:
            Refused: the server finds fault with the request (400, 422).
            GaveUp: the last try failed, or one failed while the connection closes.
            UserError: the key is refused, there is no credit or no such model, or the server redirects.
        """
        sent = each_string(dict(body), _whole)
        attempt = 0
        while True:
            headers: Mapping[str, str] = {}
            try:
                async with asyncio.timeout(self._endpoint.timeout_seconds):
                    response = await self._sdk.post(path, cast_to=httpx2.Response, body=sent)
                found = each_string(self._read(response.content), self._clean_string)
                if isinstance(found, dict) and "error" not in found:
                    return Answered(found, attempt)
                problem = f"an answer that is none: {self._clean(_words(response.content))}"
            except UserError as error:
                problem = f"an answer that cannot be read ({self._clean(error.thing)})"
                await lost()
            except TooLong as error:
                problem = str(error)
                await lost()
            except openai.APIStatusError as error:
                headers = error.response.headers
                problem = f"{error.status_code}: {self._clean(_words(error.response.content))}"
                await self._say_if_final(error.response, str(body.get("model", "")))
            except (TimeoutError, openai.APITimeoutError):
                problem = f"no whole answer within {self._endpoint.timeout_seconds:g} s"
            except openai.APIConnectionError as error:
                problem = f"the connection failed ({self._clean(str(error.__cause__ or error))})"
            if attempt < self._endpoint.retries:
                await self.pause(attempt, headers)
            if attempt == self._endpoint.retries or self.closing.is_set():
                raise GaveUp(
                    f"the endpoint does not answer; after {attempt + 1} tries: {problem}",
                    f"{self._endpoint.base_url}{path}",
                    "check base_url and that the server runs (one of your own: `transformers serve FOLDER`), "
                    "then run the same command again; what was answered is kept",
                    attempt,
                )
            attempt += 1

    async def pause(self, attempt: int, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """Waits before try `attempt` + 1, as `wait_seconds` says, or until the connection closes."""
        wait = wait_seconds(attempt, headers, self._endpoint.longest_wait_seconds, self._random)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), wait)

    async def close(self) -> None:
        """Close the connections."""
        await self._sdk.close()

    async def _say_if_final(self, response: httpx2.Response, model: str) -> None:
        """Raises unless another try may help."""
        status, words = response.status_code, _words(response.content)
        if worth_another_try(status) and "insufficient_quota" not in response.text:
            return
        said = self._clean(words)
        place = f"{self._endpoint.base_url} (key from {self._endpoint.api_key_env})"
        if status < 400:
            raise UserError(
                f"the endpoint leads to another address ({status}), and nothing is sent there: "
                f"{self._clean(_address(response))}",
                place,
                "if you trust that address, set base_url to it",
            ) from None
        if status in (401, 403):
            raise UserError(
                f"the endpoint refuses the key: {said}", place, "set a key that it takes"
            ) from None
        if status == 429:
            raise UserError(
                f"there is no credit left: {said}", place, "add credit, or use another key"
            ) from None
        known = await self._models()
        if model not in known and (known or status == 404):
            near = similar_names(model, known) or known[:10]
            raise UserError(
                f"the endpoint has no model {model!r} ({said})",
                self._endpoint.base_url,
                f"use {', '.join(near)}" if near else "check the model's name, and that base_url ends in /v1",
            ) from None
        raise Refused(f"{status}: {said}") from None

    async def _models(self) -> list[str]:
        """The first thousand models that the server names; none where it does not say."""
        try:
            async with asyncio.timeout(self._endpoint.timeout_seconds):
                response = await self._sdk.get("/models", cast_to=httpx2.Response)
            listed = self._read(response.content)["data"]
            return [self._clean(one["id"]) for one in listed[:1000] if isinstance(one["id"], str)]
        except (openai.APIError, TooLong, UserError, TimeoutError, KeyError, TypeError):
            return []

    def _read(self, content: bytes) -> Any:
        return from_json(
            content,
            self._endpoint.base_url,
            "check that base_url is an OpenAI-compatible server",
            halves=True,
        )

    def _clean_string(self, text: str) -> str:
        """A string of an answer with the key hidden and lone surrogates replaced."""
        return _whole(self._secret.hidden(text))

    def _clean(self, text: str) -> str:
        """What a server said, on one line, cut short, and never with the key in it."""
        line = " ".join(self._clean_string(text).split())
        return line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + "…"


def _whole(text: str) -> str:
    return whole_characters(text)[0]


def _address(response: httpx2.Response) -> str:
    """The address of a redirect, without its query, which may hold secrets."""
    return response.headers.get("location", "it does not say where").partition("?")[0]


def _words(content: bytes) -> str:
    """The server's own words in an answer that is an error."""
    try:
        body = from_json(content, "", "", halves=True)
    except UserError:
        return content[:100_000].decode("utf-8", "replace")
    error = body.get("error") if isinstance(body, dict) else None
    for of in (error, body):
        if isinstance(of, dict) and (said := of.get("message") or of.get("detail")):
            return str(said)
    return str(error or body)


FIRST_WAIT_SECONDS = 0.5
WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429})


def worth_another_try(status: int) -> bool:
    """Whether a server that answered with this status may answer otherwise later."""
    return status in WORTH_ANOTHER_TRY or status >= 500


def wait_seconds(attempt: int, headers: Mapping[str, str], longest: float | int, rng: random.Random) -> float:
    """How long to wait before try `attempt` + 1: what Retry-After asks for, else twice as long each time.

    The wait grows from half a second and is drawn between half of it and all of it, so that many calls
    refused together do not come back together. It is never more than `longest`.
    """
    asked = _retry_after(headers)
    if asked is None:
        asked = FIRST_WAIT_SECONDS * 2.0 ** min(attempt, 30) * rng.uniform(0.5, 1.0)
    return min(asked, float(longest))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header asks for, which gives seconds or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
