"""Servers that mean no good: endless, packed, deep, of another form, leading elsewhere, miscounting."""

import gzip
import sqlite3
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from interp.cli import app
from interp.embed.endpoint import EndpointEmbedder
from interp.errors import UserError
from interp.llm import http
from interp.llm.budget import BudgetSpent
from interp.llm.client import Client, Unreadable, run_with
from interp.llm.ledger import FILE, call_costs, damaged_lines, read_calls
from interp.track.run import open_run
from tests.asking import client_of, question
from tests.endpoint_server import (
    Act,
    Script,
    answers,
    chooses,
    drips,
    encoded,
    raw,
    redirect,
    refusal,
    says,
    serving,
)


class Asked(BaseModel):
    experiment: str = "describe"


class Noted(BaseModel):
    note: str
    size: float = 0.0


PROPER = (
    b'{"choices": [{"message": {"content": "yes"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}'
)
WITH_LOGPROBS = b'{"choices": [{"message": {}, "logprobs": {"content": [{"token": "a", "logprob": %s}]}}]}'
SPACES = b" " * 2**22
NO_JSON = {
    "deep": raw(b'{"choices": ' + b"[" * 100_000),
    "NaN": raw(WITH_LOGPROBS % b"NaN"),
    "-Infinity": raw(WITH_LOGPROBS % b"-Infinity"),
    "too large": raw(PROPER.replace(b"3", b"1e999")),
    "5,000 digits": raw(PROPER.replace(b"3", b"9" * 5000)),
    "UTF-16": raw(PROPER.decode().encode("utf-16")),
    "a list": raw(b"[]"),
    "nothing": raw(b""),
    "no gzip": encoded(b"no", "gzip"),
    "nine times packed": encoded(gzip.compress(PROPER), *["gzip"] * 9),
    "another encoding": lambda handler, body: handler.send_bytes(
        500, b"\xff", {"content-type": "text/html; charset=hex"}
    ),
}
OF_ANOTHER_FORM = {
    "choices are an object": answers(choices={"0": {}}),
    "a choice is null": answers(choices=[None]),
    "the message is a string": chooses(message="yes"),
    "the content is a number": chooses(message={"content": 3}),
    "the content is parts of none": chooses(message={"content": [{"type": "text", "text": 3}]}),
    "the reason is an object": chooses(finish_reason={"a": 1}),
    "a logarithm above zero": raw(WITH_LOGPROBS % b"1000"),
    "a logarithm that is a string": raw(WITH_LOGPROBS % b'"-1"'),
    "longer than it can be": says("x" * 200_000),
}
MISCOUNTED = {
    "negative": {"prompt_tokens": -5, "completion_tokens": -7},
    "strings": {"prompt_tokens": "5", "completion_tokens": "7"},
    "huge": {"prompt_tokens": 10**18, "completion_tokens": 10**18},
    "fractions": {"prompt_tokens": 0.5, "completion_tokens": 0.5},
    "truths": {"prompt_tokens": True, "completion_tokens": True},
    "nothing": {"prompt_tokens": 0, "completion_tokens": 0},
    "a list": [1, 2],
    "missing": None,
}


def _ask(client: Client, text: str = "hello", **options: Any) -> Any:
    return run_with(client.chat(question(text, **options)), [client])


@pytest.mark.parametrize("at", ["body", "headers"])
def test_a_call_takes_no_longer_than_it_may_however_slowly_the_answer_drips(at: str) -> None:
    part = b" " if at == "body" else b"x: y\r\n"
    with serving(Script().then(drips(part, 0.05, at), drips(part, 0.05, at))) as script:
        client, begun = client_of(script, timeout_seconds=0.3, retries=1), time.monotonic()
        with pytest.raises(UserError, match=r"no whole answer within 0\.3 s"):
            _ask(client)
        assert time.monotonic() - begun < 3


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip", ""])
def test_an_answer_without_an_end_is_not_read_to_it(
    encoding: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LONGEST_ANSWER", 2**20)
    once = zlib.compress(SPACES) if encoding == "deflate" else gzip.compress(SPACES) if encoding else SPACES
    content = gzip.compress(once) if "," in encoding else once
    headers = {"content-encoding": encoding} if encoding else {}

    def bomb(handler: Any, body: dict[str, Any]) -> None:
        handler.send_bytes(status, content, headers)

    with serving(Script().then(bomb)) as script:
        client = client_of(script, retries=0)
        with pytest.raises(UserError, match="more than 1 MiB"):
            _ask(client)


@pytest.mark.parametrize("act", NO_JSON.values(), ids=NO_JSON.keys())
def test_what_cannot_be_read_is_asked_for_again_and_not_kept(act: Act, tmp_path: Path) -> None:
    with serving(Script().then(act, act)) as script:
        client = client_of(script, tmp_path, retries=1)
        with pytest.raises(UserError, match="does not answer; after 2 tries"):
            _ask(client)
        assert _ask(client).text == "yes"


@pytest.mark.parametrize("act", OF_ANOTHER_FORM.values(), ids=OF_ANOTHER_FORM.keys())
def test_an_answer_of_other_types_is_said_counted_and_not_kept(act: Act, tmp_path: Path) -> None:
    with serving(Script().then(act, act)) as script:
        client = client_of(script, tmp_path, retries=1)
        with pytest.raises(UserError, match="is malformed") as error:
            _ask(client, top_logprobs=1)
        assert "_" not in error.value.thing.replace("finish_reason", "")
        assert _ask(client, top_logprobs=1).text == "yes"
    assert [call.outcome for call in read_calls(tmp_path / FILE)] == ["failed", "answered"]


def test_halves_of_characters_are_nowhere_in_an_answer(tmp_path: Path) -> None:
    token = {"token": "\ud83d", "logprob": -1, "top_logprobs": [{"token": "\udc00", "logprob": -2}]}
    act = chooses(
        message={"content": "a \ud83d b"},
        finish_reason="\ud83d",
        logprobs={"content": [token]},
        **{"\ud83d": 1},
    )
    with serving(Script().then(act, says('{"note": "\\ud83d"}'), refusal(400, "\ud83d"))) as script:
        client = client_of(script, tmp_path)
        for _ in range(2):
            str(_ask(client)).encode()
        with pytest.raises(Unreadable):
            run_with(client.structured(question("other"), Noted, 0), [client])
        with pytest.raises(UserError) as error:
            _ask(client, "third")
        str(error.value).encode()


@pytest.mark.parametrize(
    "kept",
    [
        '{"choices": [{"message": {"content": "a \\ud83d b"}}]}',
        '{"choices": [{"message": 3}]}',
        '{"choices"',
        "[" * 100_000,
        '{"usage": NaN}',
        "[]",
        "null",
        b"\xff",
        7,
    ],
)
def test_a_kept_answer_that_cannot_be_used_is_asked_for_again(kept: Any, tmp_path: Path) -> None:
    with serving() as script:
        _ask(client_of(script, tmp_path))
        with sqlite3.connect(tmp_path / "answers.sqlite") as database:
            database.execute("update answers set answer = ?", (kept,))
        database.close()
        client = client_of(script, tmp_path)
        assert [_ask(client).cached for _ in range(2)] == [False, True]
        assert script.calls == 2
    outcomes = [call.outcome for call in read_calls(tmp_path / FILE)]
    assert outcomes == ["answered", "unreadable", "answered", "cached"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_question_goes_to_no_other_address(status: int) -> None:
    with serving() as other, serving() as script:
        script.then(redirect(status, f"{other.url}/chat/completions?key=sk-passed-on-123"))
        client = client_of(script)
        with pytest.raises(UserError, match="leads to another address") as error:
            _ask(client)
        assert other.url in error.value.thing
        assert "sk-passed" not in str(error.value)
        assert (other.seen, script.calls) == ([], 1)


def test_this_machine_is_asked_without_a_proxy_and_a_proxy_that_is_none_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-some-key-of-mine")
    monkeypatch.setenv("ALL_PROXY", "nonsense://user:proxy-password-1@h:1")
    with serving() as script:
        assert _ask(client_of(script)).text == "yes"
        client = client_of(Script(url="https://elsewhere.example/v1"))
        with pytest.raises(UserError, match="proxy") as error:
            _ask(client)
    assert "proxy-password-1" not in str(error.value)


@pytest.mark.parametrize("usage", MISCOUNTED.values(), ids=MISCOUNTED.keys())
def test_a_server_that_counts_nothing_plausible_passes_no_budget(usage: Any, tmp_path: Path) -> None:
    with serving(Script().then(*[answers(usage=usage)] * 50)) as script:
        client = client_of(script, tmp_path, budget_tokens=500)
        with pytest.raises(BudgetSpent):
            for i in range(50):
                _ask(client, f"{i}", max_tokens=90)
        assert script.calls == 5
    spent = [call.prompt_tokens + call.completion_tokens for call in read_calls(tmp_path / FILE)]
    assert spent == [98] * 5


def test_an_answer_that_cannot_be_read_counts_and_the_budget_stops_the_tries(tmp_path: Path) -> None:
    with serving(Script().then(*[raw(PROPER.replace(b"3", b"1e999"))] * 50)) as script:
        client = client_of(script, tmp_path, budget_tokens=500, retries=50, longest_wait_seconds=0.0)
        with pytest.raises(BudgetSpent, match="490 of 500 tokens"):
            _ask(client, "0", max_tokens=90)
        assert script.calls == 5
    (call,) = read_calls(tmp_path / FILE)
    assert (call.prompt_tokens + call.completion_tokens, call.outcome) == (490, "failed")


def test_vectors_that_are_none_are_said_and_large_ones_do_not_overflow(tmp_path: Path) -> None:
    def vectors(*rows: Any) -> Act:
        return lambda handler, body: handler.send(
            200, {"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]}
        )

    wrong = [
        vectors([1.0, "nan", 1.0], [1, 2, 3]), vectors([1, 2], [1, 2, 3]), vectors([], []), vectors([1], [2]),
        vectors([True] * 3, [1, 2, 3]), vectors("AAAA", "AAAA"), raw(b'{"data": {"0": 1}}'),
    ]  # fmt: skip
    with serving(Script().then(*wrong, vectors([1e308, 1e308, 0.0], [1, 2, 3]))) as script:
        embedder = EndpointEmbedder(client_of(script, tmp_path, retries=0), 3)
        for _ in wrong:
            with pytest.raises(UserError):
                embedder.embed(["a", "b"])
        found = embedder.embed(["a", "b"])
        assert np.allclose(np.linalg.norm(found, axis=1), 1)
        assert found.dtype == np.float32
        other = EndpointEmbedder(client_of(script, tmp_path), 2)
        with pytest.raises(UserError, match="3 numbers, not 2"):  # though vectors of another width were kept
            other.embed(["a", "b"])


@pytest.mark.parametrize(
    "choice",
    [
        {"prompt_logprobs": [None, {"1": {"decoded_token": "b", "logprob": 1e300}}]},
        {"prompt_logprobs": {"a": 1}},
        {"logprobs": {"tokens": ["a b"], "token_logprobs": ["x"]}},
        {"logprobs": {"tokens": ["a", " b"], "token_logprobs": [None]}},
        {"logprobs": {"tokens": ["a b"], "token_logprobs": [-1], "top_logprobs": [{"a": "x"}]}},
    ],
)
def test_log_probabilities_that_are_none_are_not_read(choice: dict[str, Any]) -> None:
    act: Act = lambda handler, body: handler.send(200, {"choices": [choice]})  # noqa: E731
    with serving(Script().then(act, act)) as script:
        client = client_of(script)
        with pytest.raises(UserError, match="gives no log-probabilities"):
            run_with(client.prompt_logprobs("a b"), [client])


@pytest.mark.parametrize("said", ['{"note": %s}' % ("[" * 20_000), '{"note": "", "size": NaN}', "{" * 9])
def test_json_in_an_answer_is_held_to_the_same_bounds(said: str) -> None:
    with serving(Script().then(says(said))) as script:
        client = client_of(script)
        with pytest.raises(Unreadable):
            run_with(client.structured(question(max_tokens=5000), Noted, 0), [client])


def test_damaged_lines_of_a_ledger_are_left_out_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "asked"
    with serving() as script:
        _ask(client_of(script, folder))
    good = (folder / FILE).read_bytes()
    damaged = [
        good.replace(b'"prompt_tokens": ', b'"prompt_tokens": -'), good.replace(b'"chat"', b"7"),
        good.replace(b'"seconds": ', b'"seconds": 1e999, "x": '), good.replace(b'"answered"', b'"lost"'),
        good.replace(b'"usd": null', b'"usd": "free"'), b"\xff\n", b"[]\n", b"[" * 50_000 + b"\n", good[:40],
    ]  # fmt: skip
    (folder / FILE).write_bytes(good + b"".join(damaged))
    assert len(list(read_calls(folder / FILE))) == 1
    assert damaged_lines(folder / FILE) == len(damaged)
    (row,) = call_costs(folder / FILE).to_dict("records")
    assert (row["calls"], row["failed"]) == (1, 0)
    with serving() as script:  # the budget goes on from it, and the next line stands on its own
        _ask(client_of(script, folder, budget_tokens=10_000), "more")
    assert len(list(read_calls(folder / FILE))) == 2


def test_the_cost_of_a_run_says_what_it_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "asked"
    with open_run(Asked(), "asked", tmp_path) as run:
        run.step("nothing", lambda step: None)
    (folder / FILE).write_text('{"prompt_tokens": "x"}\n')
    found = CliRunner().invoke(app, ["cost", "asked", "--runs-dir", str(tmp_path)])
    assert found.exit_code == 0, found.output
    assert "1 lines of" in found.output
