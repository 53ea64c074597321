"""The client against `transformers serve`: the answers are nonsense, the protocol is not."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from interp.bundled.world import world_folder
from interp.errors import UserError
from interp.llm.cache import Cache
from interp.llm.client import Client, Unreadable, run_with
from interp.llm.endpoint import Endpoint
from interp.llm.ledger import FILE, Ledger, read_calls
from interp.llm.request import Message, Request
from tests.serve import transformers_serve


class Ratings(BaseModel):
    ratings: list[int]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("served") / "world"
    shutil.copytree(world_folder(), folder)
    with transformers_serve(folder) as url:
        yield Endpoint(model=str(folder), base_url=url, retries=1, longest_wait_seconds=0.1, concurrency=2)


def _question(text: str, max_tokens: int = 40) -> Request:
    return Request((Message("user", text),), max_tokens=max_tokens)


def test_it_answers_and_what_it_answered_is_kept(endpoint: Endpoint, tmp_path: Path) -> None:
    client = Client(endpoint, Cache(tmp_path / "answers.sqlite"), Ledger(tmp_path / FILE))
    question = _question("what is the capital of france ?")

    async def ask() -> list[str]:
        return [(await client.chat(question)).text for _ in range(2)]

    first, second = run_with(ask(), [client])
    assert first == second
    assert first
    calls = list(read_calls(tmp_path / FILE))
    assert [call.outcome for call in calls] == ["answered", "cached"]
    assert 0 < calls[0].completion_tokens < question.max_tokens


def test_an_answer_that_is_cut_off_is_none(endpoint: Endpoint) -> None:
    client = Client(endpoint)
    reply = run_with(client.chat(_question("what is the capital of france ?", max_tokens=1)), [client])
    assert reply.finish_reason == "length" and reply.text == "" and reply.usage.completion_tokens == 1


def test_several_are_answered_together(endpoint: Endpoint) -> None:
    client = Client(endpoint)
    requests = ("clean the house", "paint the house", "fix the house")  # each with a tool of its own

    async def ask() -> list[str]:
        questions = [client.chat(_question(f"how do i {what} ?")) for what in requests]
        return [reply.text for reply in await asyncio.gather(*questions)]

    assert len(set(run_with(ask(), [client]))) == len(requests)


def test_an_answer_that_keeps_to_no_schema_is_unreadable_not_wrong(endpoint: Endpoint) -> None:
    client = Client(endpoint)
    with pytest.raises(Unreadable, match="no JSON"):
        run_with(client.structured(_question("rate this"), Ratings), [client])


def test_what_it_cannot_do_is_said(endpoint: Endpoint) -> None:
    client = Client(endpoint)
    with pytest.raises(UserError, match="no log-probabilities of a prompt"):
        run_with(client.prompt_logprobs("the capital of france is"), [client])


def test_a_model_that_it_does_not_have_is_said(endpoint: Endpoint) -> None:
    client = Client(endpoint.model_copy(update={"model": "no/such-model"}))
    with pytest.raises(UserError, match="no/such-model"):
        run_with(client.chat(_question("hello")), [client])
