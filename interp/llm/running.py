"""Run work that calls endpoints; when it is stopped, the calls in flight finish and are kept."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

Result = TypeVar("Result")
SILENT_SECONDS = 2.0


@runtime_checkable
class Closable(Protocol):
    """Something with calls in flight, such as a client."""

    async def close(self) -> None:
        """Wait for the calls in flight, and start no more."""
        ...


def run_with(work: Coroutine[Any, Any, Result], clients: Iterable[Closable]) -> Result:
    """Run `work` to its end, or until it raises; then close the clients, keeping what was in flight.

    Where an event loop runs already, as in a notebook, it runs in a thread of its own. Ctrl-C (or SIGTERM, if
    it has a handler) ends the work, waits for the calls in flight and is then raised as usual; a second one
    does not wait.
    """
    running = _Running(work, list(clients))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return running.here()
    return running.beside()


class _Running(Generic[Result]):
    def __init__(self, work: Coroutine[Any, Any, Result], clients: list[Closable]) -> None:
        self._work = work
        self._clients = clients
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped_by: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Callable[[int, FrameType | None], object]] = {}

    def here(self) -> Result:
        """Run in this thread, stopped by signals that have a handler in Python."""
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            self._handlers = {number: handler for number, handler in found.items() if callable(handler)}
        try:
            result = asyncio.run(self._until_closed())
        except asyncio.CancelledError:
            if self._stopped_by is None:
                raise
        if self._stopped_by is None:
            return result
        handler = self._handlers[self._stopped_by]
        handler(self._stopped_by, None)
        raise KeyboardInterrupt

    def beside(self) -> Result:
        """Run in a thread of its own, which is stopped if waiting for it is interrupted."""
        with ThreadPoolExecutor(1) as executor:
            done = executor.submit(asyncio.run, self._until_closed())
            try:
                return done.result()
            except KeyboardInterrupt:
                if self._loop is not None and not done.done():
                    self._loop.call_soon_threadsafe(self._stop, signal.SIGINT)
                raise

    async def _until_closed(self) -> Result:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        with self._signals():
            try:
                return await self._work
            finally:
                await self._close()

    async def _close(self) -> None:
        closing = asyncio.ensure_future(_close_all(self._clients))
        if self._stopped_by is not None:
            done, _ = await asyncio.wait([closing], timeout=SILENT_SECONDS)
            if not done:
                print(
                    "stopping: answers on their way are waited for and kept; stop again to leave them",
                    file=sys.stderr,
                    flush=True,
                )
        await closing

    def _stop(self, by: signal.Signals) -> None:
        self._stopped_by = by
        if self._task is not None:
            self._task.cancel()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let signals cancel the work, instead of raising in the middle of asyncio's own code."""
        assert self._loop is not None
        before = {number: signal.getsignal(number) for number in self._handlers}
        for number in self._handlers:
            self._loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                self._loop.remove_signal_handler(number)
                signal.signal(number, handler)


async def _close_all(clients: Iterable[Closable]) -> None:
    for client in clients:
        await client.close()
