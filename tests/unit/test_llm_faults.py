"""Many calls at once, refused, failing or closed at the worst time; answers that must not be kept."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from interp.errors import UserError
from interp.llm.budget import BudgetSpent
from interp.llm.client import Client, run_with
from interp.llm.endpoint import Endpoint
from interp.llm.ledger import FILE, read_calls
from tests.asking import client_of, question
from tests.endpoint_server import Script, answers, chat_answer, raw, refusal, serving


class Answer(BaseModel):
    x: int


async def _all(client: Client, n: int) -> list[int]:
    answers = (client.structured(question(f"{i}", temperature=1.0), Answer) for i in range(n))
    return [answer.x for answer in await asyncio.gather(*answers)]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"choices": []}', b'{"choices": [{"message": 3}]}', b'{"usage": 1}']
)
def test_an_answer_of_another_form_is_said_and_not_kept(body: bytes, tmp_path: Path) -> None:
    with serving(Script().then(raw(body), raw(body))) as script:
        client = client_of(script, tmp_path, retries=1)
        with pytest.raises(UserError, match="is malformed"):
            run_with(client.chat(question()), [client])
        assert run_with(client.chat(question()), [client]).text == "yes"
    assert [call.outcome for call in read_calls(tmp_path / FILE)] == ["failed", "answered"]


def test_one_answer_of_another_form_among_many_stops_nothing_and_is_paid_for(tmp_path: Path) -> None:
    none = answers(choices=[], usage={"prompt_tokens": 300, "completion_tokens": 40})
    with serving(Script().then(none, refusal(500), none)) as script:
        client = client_of(script, tmp_path, retries=3)
        assert run_with(client.chat(question()), [client]).text == "yes"
        used = script.seen[-1][1]
    (call,) = read_calls(tmp_path / FILE)
    proper = chat_answer("yes", used)["usage"]
    assert (call.outcome, call.retries) == ("answered", 3)
    assert call.prompt_tokens == 600 + proper["prompt_tokens"]
    assert call.completion_tokens == 80 + proper["completion_tokens"]


def test_answers_of_another_form_are_asked_again_within_the_budget_and_not_while_closing(
    tmp_path: Path,
) -> None:
    none = answers(choices=[], usage={"prompt_tokens": 300, "completion_tokens": 100})
    with serving(Script().then(*[none] * 50)) as script:
        client = client_of(script, tmp_path, retries=50, budget_tokens=2000, longest_wait_seconds=0)
        with pytest.raises(BudgetSpent):
            run_with(client.chat(question(max_tokens=90)), [client])
        assert 4 <= script.calls <= 5
    with serving(Script().then(*[none] * 50)) as script:
        client = client_of(script, retries=50, longest_wait_seconds=30)

        async def leave() -> None:
            asking = asyncio.ensure_future(client.chat(question()))
            while not script.calls:
                await asyncio.sleep(0.01)
            asking.cancel()

        began = time.monotonic()
        run_with(leave(), [client])
        assert script.calls == 1 and time.monotonic() - began < 5


def test_too_few_vectors_are_said_and_not_kept(tmp_path: Path) -> None:
    with serving(Script().then(raw(b'{"data": [{"index": 0, "embedding": [1.0]}]}'))) as script:
        client = client_of(script, tmp_path, retries=0)
        with pytest.raises(UserError, match="1 vectors for 2 texts"):
            run_with(client.embed(["a", "b"]), [client])
        assert len(run_with(client.embed(["a", "b"]), [client])) == 2


def test_tries_of_a_call_that_failed_are_on_record(tmp_path: Path) -> None:
    with serving(Script().then(*[refusal(500)] * 4)) as script:
        client = client_of(script, tmp_path)
        with pytest.raises(UserError):
            run_with(client.chat(question()), [client])
    (call,) = read_calls(tmp_path / FILE)
    assert (call.outcome, call.retries) == ("failed", 3)


def test_refused_together_calls_step_back_once() -> None:
    together = threading.Barrier(6)

    def refuse(handler: Any, body: dict[str, Any]) -> None:
        together.wait(timeout=10)
        handler.fail(400, "response_format of type json_schema and seed are not supported")

    with serving(Script(answer=lambda body: '{"x": 1}').then(*[refuse] * 6)) as script:
        client = client_of(script, concurrency=6)
        assert run_with(_all(client, 6), [client]) == [1] * 6
        # each refusal names two parameters, and one is left out at a time
        last = script.seen[-1][1]
    assert last["response_format"] == {"type": "json_object"}
    assert script.calls == 12


def test_a_model_of_one_temperature_keeps_its_schema() -> None:
    said = "Unsupported value: 'temperature' does not support 0 with this model."
    with serving(Script(answer=lambda body: '{"x": 1}').then(refusal(400, said))) as script:
        client = client_of(script)
        assert run_with(client.structured(question(), Answer), [client]).x == 1
        last = script.seen[-1][1]
    assert "temperature" not in last
    assert last["response_format"]["type"] == "json_schema"


def test_the_new_name_of_the_length_is_learnt_by_all_that_were_refused() -> None:
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    with serving(Script(answer=lambda body: '{"x": 1}').then(*[refusal(400, said)] * 3)) as script:
        client = client_of(script, concurrency=3)
        assert run_with(_all(client, 3), [client]) == [1] * 3
        assert script.seen[-1][1]["max_completion_tokens"] == 512
        assert "max_tokens" not in script.seen[-1][1]


def test_after_an_error_what_is_in_flight_is_kept_and_nothing_more_is_sent(tmp_path: Path) -> None:
    async def three_in_a_row(client: Client, name: str) -> None:
        for i in range(3):
            await client.chat(question(f"{name} {i}"))

    async def until_one_fails(client: Client) -> None:
        async def fails() -> None:
            await asyncio.sleep(0.1)
            raise KeyError

        rows = (three_in_a_row(client, f"row {i}") for i in range(6))
        await asyncio.gather(fails(), *rows)

    with serving(Script(delay=0.3)) as script:
        client = client_of(script, tmp_path, concurrency=4)
        with pytest.raises(KeyError):
            run_with(until_one_fails(client), [client])
        time.sleep(0.3)
        assert script.calls == 4
    assert [call.outcome for call in read_calls(tmp_path / FILE)] == ["answered"] * 4


def test_closing_does_not_wait_out_the_pauses_between_tries() -> None:
    async def fails(client: Client) -> None:
        asked = asyncio.ensure_future(client.chat(question()))
        await asyncio.sleep(0.2)
        assert not asked.done()
        await client.close()
        with pytest.raises(UserError, match="after 1 tries: 429"):
            await asked

    with serving(Script().then(refusal(429, headers={"retry-after": "30"}))) as script:
        client, begun = client_of(script, longest_wait_seconds=60), time.monotonic()
        run_with(fails(client), [client])
        assert time.monotonic() - begun < 5


def test_it_runs_where_an_event_loop_runs_already(tmp_path: Path) -> None:
    async def cell_of_a_notebook(client: Client) -> list[str]:
        return [run_with(client.chat(question()), [client]).text for _ in range(2)]

    with serving() as script:
        client = client_of(script, tmp_path)
        assert asyncio.run(cell_of_a_notebook(client)) == ["yes", "yes"]
        assert script.calls == 1


def test_what_vllm_gives_of_a_prompt_is_read_and_remembered() -> None:
    with serving(Script(refuse=("echo",))) as script:
        client = client_of(script)

        async def twice() -> None:
            for prompt in ("the cat sat", "a dog lay"):
                found = await client.prompt_logprobs(prompt, top=2)
                assert "".join(token.token for token in found[1:]) == prompt[prompt.index(" ") :]
                assert [token.logprob for token in found] == [None, -4.0, -4.0]

        run_with(twice(), [client])
        assert script.calls == 3  # the first way is tried once


@pytest.mark.parametrize("url", ["https://user:sk-secret@host/v1", "https://host/v1?api-key=sk-secret"])
def test_an_address_with_a_key_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match="may hold no key") as error:
        Client(Endpoint(model="m", base_url=url))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["http://[::1/v1", "http://host:99999/v1", "ftp://host/v1", "http:///v1", ""])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(UserError, match="is not an address"):
        Client(Endpoint(model="m", base_url=url))
