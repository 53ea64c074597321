"""Short forms of descriptions, by rule and by a language model over real HTTP."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.descriptions.summary import WORDS, clipped, summarise
from interp.llm.client import run_with
from tests.asking import client_of
from tests.endpoint_server import Script, says, serving


def _asked(body: dict[str, Any]) -> list[str]:
    return re.findall(r"^\d+\. (.*)$", body["messages"][-1]["content"], re.MULTILINE)


def _short(body: dict[str, Any]) -> str:
    return json.dumps({"summaries": [f"SHORT {text.split()[-1]}" for text in _asked(body)]})


@pytest.mark.parametrize(
    ("description", "short"),
    [
        ("Names of Rivers; also lakes", "names of rivers"),
        ("Fires on  numbers.\nOften years.", "fires on numbers"),
        ("version 3.5 of a thing", "version 3.5 of a thing"),
        ("", ""),
        (". then", ". then"),
        ("<b>bold</b> & \x1b[31m", "<b>bold</b> & \x1b[31m"),
    ],
)
def test_the_first_clause_is_kept(description: str, short: str) -> None:
    assert clipped(description) == short


@given(st.text())
def test_a_short_form_is_short_lower_case_and_of_whole_words(description: str) -> None:
    short = clipped(description)
    words = short.removesuffix("…").split()
    assert len(words) <= WORDS
    assert short == short.lower()
    assert set(words[:-1]) <= set(description.lower().split())


def test_ten_are_asked_about_at_once_and_come_back_in_order() -> None:
    with serving(Script(answer=_short)) as script:
        client = client_of(script)
        texts = [f"a {{long}} $description of <i>thing</i> {i}" for i in range(23)]
        found, failures = run_with(summarise(client, texts), [client])
        assert found == [f"short {i}" for i in range(23)]
        assert failures == 0
        assert sorted(len(_asked(body)) for _, body in script.seen) == [3, 10, 10]
        assert {text for _, body in script.seen for text in _asked(body)} == set(texts)


def test_an_answer_of_the_wrong_length_is_asked_for_one_by_one() -> None:
    with serving(Script(answer=_short).then(says('{"summaries": ["one"]}'))) as script:
        client = client_of(script)
        assert run_with(summarise(client, ["x 1", "x 2", "x 3"]), [client]) == (
            ["short 1", "short 2", "short 3"],
            0,
        )
        assert script.calls == 4


@pytest.mark.parametrize("bad", ["no", '{"summaries": []}', '{"summaries": [" "]}', '{"summaries": [3]}'])
def test_what_cannot_be_read_is_clipped_and_counted(bad: str) -> None:
    def answer(body: dict[str, Any]) -> str:
        return _short(body) if _asked(body) == ["good 2"] else bad

    with serving(Script(answer=answer)) as script:
        client = client_of(script)
        found, failures = run_with(summarise(client, ["Bad one; and more", "good 2"]), [client])
    assert found == ["bad one", "short 2"]
    assert failures == 1


def test_a_short_form_that_is_too_long_is_clipped() -> None:
    long = json.dumps({"summaries": [" ".join(f"w{i}" for i in range(40))]})
    with serving(Script(answer=lambda body: long)) as script:
        client = client_of(script)
        (found,), failures = run_with(summarise(client, ["x"]), [client])
    assert found == " ".join(f"w{i}" for i in range(WORDS)) + "…"
    assert failures == 0
