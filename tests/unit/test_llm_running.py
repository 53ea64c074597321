"""Stopping what asks endpoints: what is in flight is kept, and nothing but one line is said."""

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from interp.cli.explained import STOPPED, explained
from interp.errors import UserError
from interp.llm.client import Client, run_with
from interp.llm.ledger import FILE, read_calls
from tests.asking import client_of, question
from tests.endpoint_server import Act, Script, refusal, serving


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is said of tasks that nobody asked for, not even when they are collected."""
    yield
    gc.collect(1)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def _many(client: Client, n: int = 6) -> None:
    await asyncio.gather(*(client.chat(question(f"{i}")) for i in range(n)))


def _send(number: signal.Signals, *, once: Callable[[], bool], times: int = 1) -> None:
    """Send this process a signal when something is so; again after a moment."""

    def wait_and_send() -> None:
        while not once():
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.2)

    threading.Thread(target=wait_and_send, daemon=True).start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_work_keeps_what_is_in_flight_and_says_one_line(
    number: signal.Signals, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with serving(Script(delay=0.4)) as script:
        client = client_of(script, tmp_path, concurrency=3)
        _send(number, once=lambda: script.calls == 3)
        with pytest.raises(typer.Exit) as stopped, explained():
            run_with(_many(client), [client])
        assert stopped.value.exit_code == STOPPED
        assert script.calls == 3
    assert capfd.readouterr().err == "interrupted; nothing was begun\n"
    assert signal.getsignal(number) is before
    assert [call.outcome for call in read_calls(tmp_path / FILE)] == ["answered"] * 3


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with serving(Script(delay=20)) as script:
        client = client_of(script, tmp_path)
        _send(signal.SIGINT, once=lambda: script.calls == 6, times=2)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run_with(_many(client), [client])
        assert time.monotonic() - begun < 10


def test_an_interrupted_cell_of_a_notebook_stops_what_runs_beside_it(tmp_path: Path) -> None:
    async def cell(client: Client) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a notebook
        run_with(_many(client, 50), [client])

    with serving(Script(delay=0.3)) as script:
        client = client_of(script, tmp_path, concurrency=2)
        _send(signal.SIGINT, once=lambda: script.calls == 2)
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(cell(client))
        assert script.calls <= 4
    assert {call.outcome for call in read_calls(tmp_path / FILE)} == {"answered"}


def test_failures_of_many_calls_are_one_failure(tmp_path: Path) -> None:
    def failing(seconds: float) -> Act:
        def act(handler: Any, body: dict[str, Any]) -> None:
            time.sleep(seconds)
            handler.fail(400, "the context is too long")

        return act

    with serving(Script().then(refusal(400, "too long"), *map(failing, (0.1, 0.2, 0.2, 0.3, 0.3)))) as script:
        client = client_of(script, tmp_path)
        with pytest.raises(UserError, match="refuses the request"):
            run_with(_many(client), [client])
    assert [call.outcome for call in read_calls(tmp_path / FILE)] == ["failed"] * 6
