"""A real server of the app, in a thread of the tests' own process."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from interp import Subject
from interp.web.worker import Guarded, passes_of


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address at which the app answers within the block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
        assert not thread.is_alive()


def before_each_pass(subject: Subject, act: Callable[[], None]) -> Guarded:
    """A worker's guard that does something in every pass of the model, before the worker's own check."""

    def guarded(check: Callable[[], None]) -> Any:
        def both() -> None:
            act()
            check()

        return passes_of(subject)(both)

    return guarded


def slowly(subject: Subject, seconds: float = 0.06) -> Guarded:
    """A guard with which every pass of the model takes a moment."""
    return before_each_pass(subject, lambda: time.sleep(seconds))
