"""One call over HTTP, tried again where that may help; what a person can put right is a `UserError`."""

import asyncio
import json
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from interp.errors import UserError, nearest
from interp.llm.endpoint import NO_KEY, Endpoint
from interp.llm.retry import wait_seconds, worth_another_try

LONGEST_MESSAGE = 300


class Refused(Exception):
    """The server does not take the request as it is; `message` is what it says."""

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
        self._endpoint = endpoint
        self._key = endpoint.key()
        self._random = random.Random()
        self.closing = asyncio.Event()
        self._sdk = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=endpoint.base_url,
            timeout=endpoint.timeout_seconds,
            max_retries=0,
        )

    async def post(self, path: str, body: Mapping[str, Any]) -> Answered:
        """Sends a request until it is answered.

        Raises:
            Refused: the server finds fault with the request (400, 422).
            GaveUp: the last try failed, or one failed while the connection closes.
            UserError: the key is refused, there is no credit, or there is no such model.
        """
        attempt = 0
        while True:
            headers: Mapping[str, str] = {}
            try:
                response = await self._sdk.post(path, cast_to=httpx2.Response, body=dict(body))
                found = json.loads(response.content)
                if isinstance(found, dict) and "error" not in found:
                    return Answered(found, attempt)
                problem = f"an answer that is none: {self._clean(response.text)}"
            except ValueError as error:
                problem = f"an answer that is not JSON ({error})"
            except openai.APIStatusError as error:
                headers = error.response.headers
                problem = f"{error.status_code}: {self._clean(_message(error))}"
                await self._say_if_final(error, str(body.get("model", "")))
            except openai.APITimeoutError:
                problem = f"no answer within {self._endpoint.timeout_seconds:g} s"
            except openai.APIConnectionError as error:
                problem = f"the connection failed ({self._clean(str(error.__cause__ or error))})"
            if attempt < self._endpoint.retries:
                wait = wait_seconds(attempt, headers, self._endpoint.longest_wait_seconds, self._random)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.closing.wait(), wait)
            if attempt == self._endpoint.retries or self.closing.is_set():
                raise GaveUp(
                    f"the endpoint does not answer; after {attempt + 1} tries: {problem}",
                    f"{self._endpoint.base_url}{path}",
                    "check base_url and that the server runs (one of your own: `transformers serve FOLDER`), "
                    "then run the same command again; what was answered is kept",
                    attempt,
                )
            attempt += 1

    async def close(self) -> None:
        """Close the connections."""
        await self._sdk.close()

    async def _say_if_final(self, error: openai.APIStatusError, model: str) -> None:
        """Raises unless another try may help."""
        if worth_another_try(error.status_code) and "insufficient_quota" not in str(error.body):
            return
        said = self._clean(_message(error))
        place = f"{self._endpoint.base_url} (key from {self._endpoint.api_key_env})"
        if error.status_code in (401, 403):
            raise UserError(
                f"the endpoint refuses the key: {said}", place, "set a key that it takes"
            ) from None
        if error.status_code == 429:
            raise UserError(
                f"there is no credit left: {said}", place, "add credit, or use another key"
            ) from None
        known = await self._models()
        if model not in known and (known or error.status_code == 404):
            near = nearest(model, known) or known[:10]
            raise UserError(
                f"the endpoint has no model {model!r} ({said})",
                self._endpoint.base_url,
                f"use {', '.join(near)}" if near else "check the model's name, and that base_url ends in /v1",
            ) from None
        raise Refused(f"{error.status_code}: {said}") from None

    async def _models(self) -> list[str]:
        try:
            response = await self._sdk.get("/models", cast_to=httpx2.Response)
            return [str(one["id"]) for one in json.loads(response.content)["data"]]
        except (openai.APIError, ValueError, KeyError, TypeError):
            return []

    def _clean(self, text: str) -> str:
        """What a server said, on one line, cut short, and never with the key in it."""
        line = " ".join((text if self._key == NO_KEY else text.replace(self._key, "***")).split())
        return line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + "…"


def _message(error: openai.APIStatusError) -> str:
    """The server's own words."""
    body = error.body
    if isinstance(body, dict):
        said = body.get("message") or body.get("detail") or body.get("error")
        if said:
            return str(said)
    return error.response.text or error.message
