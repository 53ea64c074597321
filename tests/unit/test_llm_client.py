"""The client against a real HTTP server on loopback that misbehaves in every way that endpoints do."""

import asyncio
import random
import time
import traceback
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from interp.errors import UserError
from interp.llm.budget import BudgetSpent
from interp.llm.client import Client, Unreadable, run_with
from interp.llm.endpoint import Endpoint
from interp.llm.ledger import FILE, read_calls
from interp.llm.request import Message, Request
from interp.llm.transport import wait_seconds
from tests.asking import client_of, question
from tests.endpoint_server import Script, dropped, late, raw, refusal, says, serving

KEY = "sk-this-is-a-secret-key"


class Ratings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    ratings: list[int]


def _run(client: Client, work: Coroutine[Any, Any, Any]) -> Any:
    return run_with(work, [client])


async def _all(client: Client, n: int, **options: Any) -> list[str]:
    return [
        r.text
        for r in await asyncio.gather(*(client.chat(question(f"question {i}", **options)) for i in range(n)))
    ]


MISHAPS = {
    "429": refusal(429),
    "retry-after": refusal(429, headers={"retry-after": "0.01"}),
    "500": refusal(500),
    "503": refusal(503),
    "timeout": late(0.7),
    "dropped": dropped,
    "truncated": raw(b'{"choices": [{"mess'),
    "html": raw(b"<html>bad gateway</html>"),
    "error in 200": raw(b'{"error": {"message": "overloaded"}}'),
}
BAD_RATINGS = ("no idea", '{"ratings": [1, "<b>x</b>"]}', '{"ratings": [1,', '{"rating": [1]}')


@pytest.mark.parametrize("act", MISHAPS.values(), ids=MISHAPS.keys())
def test_what_may_pass_is_tried_again(act: Any, tmp_path: Path) -> None:
    with serving(Script().then(act, act)) as script:
        client = client_of(script, tmp_path, timeout_seconds=0.3)
        assert _run(client, client.chat(question())).text == "yes"
        assert script.calls == 3
    (call,) = read_calls(tmp_path / FILE)
    assert (call.retries, call.outcome) == (2, "answered")


def test_it_gives_up_after_its_tries_and_says_where() -> None:
    with serving(Script().then(*[refusal(500, "on fire")] * 9)) as script:
        client = client_of(script)
        with pytest.raises(UserError, match="after 4 tries: 500: on fire") as error:
            _run(client, client.chat(question()))
        assert script.calls == 4
        assert script.url in error.value.place


def test_retry_after_is_honoured_in_seconds_and_as_a_date() -> None:
    rng = random.Random(0)
    assert wait_seconds(0, {"retry-after": "7"}, 60, rng) == 7
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert 18 <= wait_seconds(0, {"retry-after": soon}, 60, rng) <= 20
    assert wait_seconds(5, {"retry-after": "3600"}, 60, rng) == 60
    waits = [wait_seconds(attempt, {}, 60, rng) for attempt in range(8)]
    assert all(0.25 * 2**i <= wait <= 0.5 * 2**i for i, wait in enumerate(waits[:7]))
    assert waits[7] <= 60
    assert wait_seconds(0, {"retry-after": "soon"}, 60, rng) <= 0.5
    with serving(Script().then(refusal(429, headers={"retry-after": "0.4"}))) as script:
        client, begun = client_of(script, longest_wait_seconds=5), time.monotonic()
        _run(client, client.chat(question()))
        assert time.monotonic() - begun >= 0.4


def test_calls_are_in_flight_together_but_never_more_than_allowed() -> None:
    with serving(Script(delay=0.05)) as script:
        client = client_of(script, concurrency=5)
        assert _run(client, _all(client, 20)) == ["yes"] * 20
        assert script.most_at_once == 5


def test_a_question_is_paid_for_once(tmp_path: Path) -> None:
    with serving(Script(answer=lambda body: body["messages"][0]["content"], delay=0.05)) as script:
        client = client_of(script, tmp_path)
        together = [client.chat(question("same")) for _ in range(4)]

        async def ask_together() -> list[str]:
            return [reply.text for reply in await asyncio.gather(*together)]

        assert _run(client, ask_together()) == ["same"] * 4
        assert script.calls == 1
        other = client_of(script, tmp_path)
        assert _run(other, other.chat(question("same"))).cached
        assert script.calls == 1
        for change in (
            {"temperature": 1.0},
            {"sample": 1},
            {"max_tokens": 7},
            {"schema": {"type": "object"}},
        ):
            assert not _run(other, other.chat(question("same", **change))).cached
        assert not _run(other, other.chat(Request((Message("system", "same"),)))).cached
    assert [call.outcome for call in read_calls(tmp_path / FILE)].count("cached") == 1


def test_what_failed_is_not_kept(tmp_path: Path) -> None:
    with serving(Script().then(*[refusal(500)] * 4)) as script:
        client = client_of(script, tmp_path)
        with pytest.raises(UserError):
            _run(client, client.chat(question()))
        assert _run(client, client.chat(question())).text == "yes"


def test_a_budget_of_tokens_is_never_overshot_and_stops_cleanly(tmp_path: Path) -> None:
    with serving(Script(answer=lambda body: "word " * 15, delay=0.02)) as script:
        client = client_of(script, tmp_path, budget_tokens=1_000, concurrency=8)
        with pytest.raises(BudgetSpent, match="1,000 tokens"):
            _run(client, _all(client, 100, max_tokens=30))
        spent = sum(c.prompt_tokens + c.completion_tokens for c in read_calls(tmp_path / FILE))
        assert 800 < spent <= 1_000
        calls = script.calls
        with pytest.raises(BudgetSpent):
            again = client_of(script, tmp_path, budget_tokens=1_000)
            _run(again, again.chat(question("one more, and a long one " * 20)))
        assert script.calls == calls
        kept = client_of(script, tmp_path, budget_tokens=1_000)
        assert _run(kept, kept.chat(question("question 0", max_tokens=30))).cached


def test_money_is_counted_and_budgeted(tmp_path: Path) -> None:
    prices = {"usd_per_million_prompt_tokens": 1e6, "usd_per_million_completion_tokens": 2e6}
    with serving() as script:
        client = client_of(script, tmp_path, **prices)
        _run(client, client.chat(question()))
        (call,) = read_calls(tmp_path / FILE)
        assert call.usd == call.prompt_tokens + 2 * call.completion_tokens
        poor = client_of(script, None, **prices, budget_usd=0.5)
        with pytest.raises(BudgetSpent, match="USD"):
            _run(poor, poor.chat(question()))
    with pytest.raises(UserError, match="needs prices"):
        Client(Endpoint(model="m", base_url="http://127.0.0.1:1/v1", budget_usd=1.0))


def test_the_longest_answer_is_bounded() -> None:
    with serving() as script:
        client = client_of(script, max_tokens_per_call=10)
        _run(client, client.chat(question(max_tokens=500)))
        assert script.seen[-1][1]["max_tokens"] == 10


@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "Sure! {} I hope that helps."])
def test_an_answer_is_read_by_its_schema_with_words_around_it(around: str) -> None:
    with serving(Script(answer=lambda body: around.replace("{}", '{"ratings": [1, 2]}'))) as script:
        client = client_of(script)
        assert _run(client, client.structured(question(), Ratings)).ratings == [1, 2]
        shape = script.seen[-1][1]["response_format"]
        assert shape["type"] == "json_schema"
        assert shape["json_schema"]["schema"]["properties"]["ratings"]["type"] == "array"


@pytest.mark.parametrize("bad", BAD_RATINGS)
def test_an_unreadable_answer_is_asked_for_again_with_what_is_wrong(bad: str, tmp_path: Path) -> None:
    with serving(Script(answer=lambda body: '{"ratings": [5]}').then(says(bad))) as script:
        client = client_of(script)
        assert _run(client, client.structured(question(), Ratings)).ratings == [5]
        assert script.seen[-1][1]["messages"][-2]["content"] == bad
    with serving(Script(answer=lambda body: bad)) as script:
        client = client_of(script, tmp_path)
        with pytest.raises(Unreadable) as error:
            _run(client, client.structured(question(), Ratings))
        assert error.value.text == bad
    assert [call.outcome for call in read_calls(tmp_path / FILE)][-1] == "unreadable"


def test_a_server_that_knows_no_schema_is_asked_in_words_and_this_is_remembered() -> None:
    with serving(
        Script(answer=lambda body: '{"ratings": []}', refuse=("response_format", "seed", "logprobs"))
    ) as script:
        client = client_of(script)

        async def twice() -> None:
            for text in ("one", "two"):
                await client.structured(question(text, temperature=1.0, top_logprobs=3), Ratings)

        _run(client, twice())
        last = script.seen[-1][1]
        assert not {"response_format", "seed", "logprobs"} & last.keys()
        assert "JSON schema" in last["messages"][-1]["content"]
        assert script.calls == 6  # four refusals are learnt from once
        told = client_of(script, json_schema=False, seed=False, logprobs=False)
        _run(told, told.structured(question(temperature=1.0, top_logprobs=3), Ratings))
        assert script.calls == 7


def test_a_request_that_is_wrong_in_itself_is_said_at_once() -> None:
    with serving(Script().then(refusal(400, "the context is too long"))) as script:
        client = client_of(script)
        with pytest.raises(UserError, match="the context is too long"):
            _run(client, client.chat(question(temperature=1.0)))
        assert script.calls == 1


def test_log_probabilities_of_a_prompt_are_read_where_the_server_gives_them() -> None:
    with serving() as script:
        client = client_of(script)
        found = _run(client, client.prompt_logprobs("the cat sat", top=2))
        assert "".join(token.token for token in found) == "the cat sat"
        assert [token.logprob for token in found] == [None, -4.0, -4.0]
        assert found[1].top == {" cat": -4.0}
    with serving(Script(refuse=("echo", "prompt_logprobs"))) as script:
        client = client_of(script)
        with pytest.raises(UserError, match="structured simulator"):
            _run(client, client.prompt_logprobs("the cat sat"))


def test_embeddings_come_in_the_order_of_the_texts(tmp_path: Path) -> None:
    texts = [f"{'x' * i} y" for i in range(300)]
    with serving() as script:
        client = client_of(script, tmp_path)
        assert [vector[0] for vector in _run(client, client.embed(texts))] == [len(text) for text in texts]
        assert script.calls == 2
        _run(client, client.embed(texts))
        assert script.calls == 2


def test_who_is_not_there_who_is_refused_and_what_is_unknown_is_said() -> None:
    nobody = Endpoint(model="m", base_url="http://127.0.0.1:9/v1", retries=1, longest_wait_seconds=0.01)
    client = Client(nobody)
    with pytest.raises(UserError, match="transformers serve") as error:
        _run(client, client.chat(question()))
    assert "127.0.0.1:9" in error.value.place
    with serving(Script(key="right")) as script:
        client = client_of(script)
        with pytest.raises(UserError, match="refuses the key"):
            _run(client, client.chat(question()))
        assert script.calls == 1
    with serving() as script:
        misspelt = Client(Endpoint(model="scriptd", base_url=script.url))
        with pytest.raises(UserError, match="scriptd") as error:
            _run(misspelt, misspelt.chat(question()))
        assert error.value.fix.startswith("use scripted")
    with pytest.raises(UserError, match="not an address"):
        Client(Endpoint(model="m", base_url="localhost:8000"))


def test_a_key_is_asked_for_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match=r"no key for api\.openai\.com"):
        Client(Endpoint(model="gpt"))


def test_the_key_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    seen = []
    for status in (400, 401, 403, 404, 422, 429, 500):
        echo = refusal(status, f"bad key {KEY}")
        with serving(Script(key="other").then(*[echo] * 5)) as script:
            client = client_of(script, tmp_path)
            try:
                _run(client, client.chat(question(f"{status}")))
            except UserError:
                seen.append(traceback.format_exc())
            seen.append(repr(client.endpoint) + repr(client) + client.name)
    with serving(Script(key=KEY)) as script:
        client = client_of(script, tmp_path)
        assert _run(client, client.chat(question("good"))).text == "yes"
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert len(seen) >= 14
    assert KEY not in "".join(seen)
    assert KEY.encode() not in written
    assert KEY not in "".join(capfd.readouterr())


def test_answers_pass_through_whatever_is_in_them(tmp_path: Path) -> None:
    text = "<script>alert(1)</script> \x00\x1b[31m {{7*7}} \ud7ff 🙂"
    with serving(Script(answer=lambda body: text)) as script:
        client = client_of(script, tmp_path)
        assert [_run(client, client.chat(question())).text for _ in range(2)] == [text, text]
