"""Clients of endpoints in a worker: the process that began the run asks, within its budget."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.llm.request import Reply, Request, TokenLogprobs
from interp.secrets import keep_secret


@dataclass(frozen=True)
class Question:
    """A call of a method of a client: which client, for what purpose, the method's name and arguments."""

    client: int
    purpose: str
    method: str
    arguments: tuple[Any, ...]

    async def put_to(self, clients: Sequence[Client]) -> Any:
        """Makes the call with the client itself."""
        return await getattr(clients[self.client].named(self.purpose), self.method)(*self.arguments)


Ask = Callable[[Question], Awaitable[Any]]
"""Sends a question to the process that has the clients, and returns the answer or raises its error."""


class AskedElsewhere(Client):
    """A client without key, budget, cache or ledger: each call is made by the process that has them."""

    def __init__(self, number: int, endpoint: Endpoint, purpose: str, reread: int, ask: Ask) -> None:
        self.endpoint, self.purpose, self.reread = endpoint, purpose, reread
        self._secret = keep_secret("")
        self._number, self._elsewhere = number, ask

    async def chat(self, request: Request) -> Reply:
        """As `Client.chat`."""
        reply: Reply = await self._put("chat", request)
        return reply

    async def note_unreadable(self) -> None:
        """As `Client.note_unreadable`."""
        await self._put("note_unreadable")

    async def prompt_logprobs(self, prompt: str, top: int = 5) -> tuple[TokenLogprobs, ...]:
        """As `Client.prompt_logprobs`."""
        found: tuple[TokenLogprobs, ...] = await self._put("prompt_logprobs", prompt, top)
        return found

    async def embed(self, texts: Sequence[str], width: int = 0) -> list[list[float]]:
        """As `Client.embed`."""
        vectors: list[list[float]] = await self._put("embed", texts, width)
        return vectors

    async def close(self) -> None:
        """Closes nothing: the connection belongs to the other process."""

    async def _put(self, method: str, *arguments: Any) -> Any:
        return await self._elsewhere(Question(self._number, self.purpose, method, arguments))
