"""What a server supports, learnt from its refusals, and the connection of the running event loop."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from interp.llm.endpoint import Endpoint, FlagOrAuto
from interp.llm.transport import Transport

SchemaWay = Literal["schema", "object", "words"]
"""How a schema is enforced: by the server, by the server as any JSON object, or only by asking in words."""
_WAYS: tuple[SchemaWay, ...] = ("schema", "object", "words")
_NAMED_BY = {
    "response_format": ("response_format", "json_schema", "json_object", "schema"),
    "logprobs": ("logprobs",),
    "seed": ("seed",),
    "temperature": ("temperature",),
}
_COMPLAINTS = ("unsupported", "not support", "unrecognized", "unknown", "unexpected", "extra")


@dataclass
class Connection:
    """What belongs to one event loop: the transport, a limit on concurrent calls, and the calls in flight."""

    transport: Transport
    room: asyncio.Semaphore
    flights: dict[str, asyncio.Task[dict[str, Any]]] = field(default_factory=dict)
    closed: bool = False

    @property
    def closing(self) -> bool:
        """Whether nothing more may be sent."""
        return self.transport.closing.is_set()


class Capabilities:
    """What a server supports: the endpoint's flags, of which `auto` means yes until the server refuses."""

    def __init__(self, endpoint: Endpoint, transport: type[Transport] = Transport) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._lacking: set[str] = set()
        self._way = {True: 0, False: len(_WAYS) - 1, "auto": 0}[endpoint.json_schema]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None
        self.prompt_way: int | None = None
        self.length_name = "max_tokens"

    @property
    def schema_way(self) -> SchemaWay:
        """How an answer is kept to a schema at present."""
        return _WAYS[self._way]

    def has(self, name: Literal["seed", "logprobs", "temperature"]) -> bool:
        """Whether the server is taken to know a parameter."""
        flag: FlagOrAuto = getattr(self._endpoint, name, "auto")
        return flag is True or (flag == "auto" and name not in self._lacking)

    def do_without(self, message: str, sent: Mapping[str, Any]) -> bool:
        """Learn from a refusal; True if the request can be made in another form."""
        said = message.lower()
        if "max_completion_tokens" in said and "max_tokens" in sent:
            self.length_name = "max_completion_tokens"
            return True
        sent_names = [name for name in _NAMED_BY if name in sent]
        blamed = [name for name in sent_names if any(word in said for word in _NAMED_BY[name])]
        if not blamed and any(complaint in said for complaint in _COMPLAINTS):
            blamed = [name for name in sent_names if name != "temperature"]
        for name in blamed:
            if name == "response_format":
                # many calls may be refused at once: each asks for the way after the one that it was sent in
                next_way = 1 + (sent[name]["type"] == "json_object")
                if self._endpoint.json_schema == "auto" and next_way < len(_WAYS):
                    self._way = max(self._way, next_way)
                    return True
            elif getattr(self._endpoint, name, "auto") == "auto":
                self._lacking.add(name)
                return True
        return False

    def connection(self) -> Connection:
        """The connection of the running event loop, made on first use."""
        loop = asyncio.get_running_loop()
        if self._connection is None or self._loop is not loop:
            self._loop = loop
            room = asyncio.Semaphore(self._endpoint.concurrency)
            self._connection = Connection(self._transport(self._endpoint), room)
        return self._connection

    async def close(self) -> None:
        """Wait for the calls in flight, send nothing more in this event loop, and disconnect."""
        connection = self._connection
        if connection is None or connection.closed or self._loop is not asyncio.get_running_loop():
            return
        connection.transport.closing.set()
        await asyncio.gather(*connection.flights.values(), return_exceptions=True)
        await connection.transport.close()
        connection.closed = True
