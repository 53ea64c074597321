"""Answers workers' questions to endpoints, in the process that began the run, while parts are computed."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from interp.engine.asking import Question
from interp.llm.client import Client
from interp.llm.running import run_with

_LOOK_SECONDS = 0.25


@contextmanager
def answering(clients: Sequence[Client], mailbox: Any) -> Iterator[None]:
    """Answers from a thread of its own until the block ends; calls in flight then are waited for and kept."""
    if not clients:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=lambda: run_with(_answer(clients, mailbox, ended), clients), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def _answer(clients: Sequence[Client], mailbox: Any, ended: threading.Event) -> None:
    calls: set[asyncio.Task[None]] = set()
    while not ended.is_set():
        for number, question in await mailbox.take.remote(_LOOK_SECONDS):
            call = asyncio.ensure_future(_put(question, clients, mailbox, number))
            calls.add(call)
            call.add_done_callback(calls.discard)


async def _put(question: Question, clients: Sequence[Client], mailbox: Any, number: int) -> None:
    try:
        answer, error = await question.put_to(clients), None
    except Exception as raised:  # it is the worker's to handle
        answer, error = None, raised
    mailbox.answer.remote(number, answer, error)
