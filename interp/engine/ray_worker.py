"""What runs on a Ray cluster: workers that compute parts, and a mailbox for questions to endpoints."""

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from interp.engine.asking import AskedElsewhere, Question
from interp.engine.packed import Unpacker
from interp.engine.same_code import code, differences
from interp.errors import UserError
from interp.llm.endpoint import Endpoint


@dataclass(frozen=True)
class Named:
    """What a worker must know of a client: everything but its key."""

    endpoint: Endpoint
    purpose: str
    reread: int


class Worker:
    """A process that computes parts, one at a time and in the order asked; opens each piece of work once.

    None of its methods is a coroutine: Ray would run several at once.
    """

    def __init__(self, mailbox: Any, folder: str, threads: int) -> None:
        self._mailbox = mailbox
        self._unpacker = Unpacker()
        self._key, self._work = "", None
        torch.set_num_threads(threads)
        if Path(folder).is_dir():  # names in a config are relative to where the run was begun
            os.chdir(folder)

    def open(
        self, asked_by: Mapping[str, str], key: str, content: bytes, clients: bytes, *buffers: Any
    ) -> None:
        """Opens a piece of work and everything in it, in the place of the last.

        Raises:
            UserError: this process would compute other numbers than the one that asks; or as `interp.load`.
        """
        if other := differences(asked_by, code()):
            raise UserError(
                f"a worker has other versions than the process that began the run: {other}",
                f"engine, machine {socket.gethostname()}",
                "install the same on every machine of the cluster, or send it along (docs/scale.md)",
            )
        self._key, self._work = "", None
        named: Sequence[Named] = self._unpacker.open(clients, (), ())
        asked = [
            AskedElsewhere(number, one.endpoint, one.purpose, one.reread, partial(_ask, self._mailbox))
            for number, one in enumerate(named)
        ]
        self._work = self._unpacker.open(content, buffers, asked)
        self._key = key

    def compute(self, key: str, part: Any) -> Any:
        """Computes a part of the piece of work that was opened last."""
        assert self._work is not None and key == self._key
        return self._work(part)


async def _ask(mailbox: Any, question: Question) -> Any:
    answer, error = await mailbox.ask.remote(question)
    if error is not None:
        raise error
    return answer


class Mailbox:
    """Keeps the workers' questions until the process that began the run takes them, and its answers."""

    def __init__(self) -> None:
        self._questions: asyncio.Queue[tuple[int, Question]] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[tuple[Any, Exception | None]]] = {}
        self._asked = 0

    async def ask(self, question: Question) -> tuple[Any, Exception | None]:
        """Returns the answer, or the error."""
        number, self._asked = self._asked, self._asked + 1
        answer: asyncio.Future[tuple[Any, Exception | None]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._questions.put((number, question))
        return await answer

    async def take(self, seconds: float) -> list[tuple[int, Question]]:
        """Returns the questions that are there, waiting for one for a while."""
        try:
            taken = [await asyncio.wait_for(self._questions.get(), seconds)]
        except TimeoutError:
            return []
        while not self._questions.empty():
            taken.append(self._questions.get_nowait())
        return taken

    def answer(self, number: int, answer: Any, error: Exception | None) -> None:
        """Hands an answer to the worker that asked, if it still waits."""
        future = self._answers.pop(number)
        if not future.done():
            future.set_result((answer, error))
