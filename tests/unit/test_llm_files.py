"""What the client leaves on disk: answers that a kill does not lose, the ledger, and what it adds up to."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from interp.cli.costs import cost_table
from interp.errors import UserError
from interp.llm.cache import Cache, cache_key
from interp.llm.client import run_with
from interp.llm.ledger import FILE, Call, Ledger, call_costs, read_calls
from tests.asking import client_of, question
from tests.command_line import largest_file
from tests.endpoint_server import serving

WRITER = """
import sys
from pathlib import Path
from interp.llm.cache import Cache
cache, name = Cache(Path(sys.argv[1])), sys.argv[2]
for i in range(int(sys.argv[3])):
    cache.put(f"{name}{i}", {"n": i})
    print(i, flush=True)
"""
CALL = Call("2026-01-01T00:00:00+00:00", "explain", "m", "here", "chat", 100, 10, 0.5, 2.0, 1, "answered")


def _writer(file: Path, name: str, n: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(file), name, str(n)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_ledger_that_was_cut_short_is_read_and_continued(tmp_path: Path) -> None:
    with serving() as script:
        client = client_of(script, tmp_path)
        for text in ("one", "two", "three"):
            run_with(client.chat(question(text)), [client])
        file = tmp_path / FILE
        file.write_bytes(file.read_bytes()[:-20])
        assert len(list(read_calls(file))) == 2
        client = client_of(script, tmp_path)
        run_with(client.chat(question("more")), [client])
    assert len(list(read_calls(file))) == 3


def test_a_disk_that_is_full_for_a_while_damages_no_other_line_of_a_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE)
    long = replace(CALL, purpose="p" * 3000)
    ledger.record(long)
    with largest_file(4096), pytest.raises(UserError, match="no room to write"):
        ledger.record(long)
    ledger.record(CALL)
    assert list(read_calls(ledger.file)) == [long, CALL]
    assert Ledger(ledger.file).spent("m", "here") == (220, 1.0)


def test_an_answer_that_a_quota_refuses_is_said_as_such(tmp_path: Path) -> None:
    kept = Cache(tmp_path / "answers.sqlite")
    kept.put("a", {"x": 1})
    with largest_file(100_000), pytest.raises(UserError, match="cannot be kept") as error:
        for number in range(1000):
            kept.put(f"{number}", {"x": "y" * 1000})
    assert "quota" in error.value.fix
    kept.put("b", {"x": 2})
    kept.close()
    again = Cache(tmp_path / "answers.sqlite")
    assert (again.get("a"), again.get("b")) == ({"x": 1}, {"x": 2})


def test_a_damaged_cache_says_so(tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match="move the file away"):
        Cache(tmp_path / "answers.sqlite").get("x")


def test_processes_share_a_cache_and_a_kill_loses_nothing_that_was_put(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    patient, killed = _writer(file, "a", 300), _writer(file, "b", 1_000_000)
    assert killed.stdout is not None
    for _ in range(100):
        last = int(killed.stdout.readline())
    killed.send_signal(signal.SIGKILL)
    put, _ = patient.communicate(timeout=60)
    killed.communicate(timeout=60)
    cache = Cache(file)
    assert put.count("\n") == 300
    assert all(cache.get(f"a{i}") == {"n": i} for i in range(300))
    assert all(cache.get(f"b{i}") == {"n": i} for i in range(last + 1))


def test_the_key_of_an_answer_depends_on_everything_but_the_order_of_names() -> None:
    question = {"model": "m", "question": {"a": 1, "b": [1, 2]}}
    assert cache_key(question) == cache_key({"question": {"b": [1, 2], "a": 1}, "model": "m"})
    others = [{**question, "model": "n"}, {**question, "question": {"a": 1, "b": [2, 1]}}, {}]
    assert len({cache_key(one) for one in [question, *others]}) == 4


def test_costs_are_added_up_by_model_and_purpose(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE)
    free = replace(CALL, prompt_tokens=0, completion_tokens=0, usd=0.0, seconds=0.0, retries=0)
    unpriced = replace(CALL, purpose="judge", usd=None)
    for call in (
        CALL, CALL, replace(free, outcome="cached"), replace(free, outcome="unreadable"),
        replace(free, outcome="failed", retries=3), unpriced,
    ):  # fmt: skip
        ledger.record(call)
    explain, judge = call_costs(tmp_path / FILE).to_dict("records")
    assert (explain["calls"], explain["kept"], explain["failed"], explain["retries"]) == (3, 1, 2, 5)
    assert (explain["prompt_tokens"], explain["completion_tokens"], explain["usd"]) == (200, 20, 1.0)
    assert judge["usd"] != judge["usd"]
    assert ledger.spent("m", "here") == (330, 1.0)
    assert ledger.spent("m", "elsewhere") == (0, 0.0)
    console = Console(width=200)
    with console.capture() as shown:
        console.print(cost_table(call_costs(tmp_path / FILE)))
    lines = shown.get().splitlines()
    assert [line.split()[-2] for line in lines[1:]] == ["1.0000", "unknown", "unknown"]
    assert call_costs(tmp_path / "none.jsonl").empty
