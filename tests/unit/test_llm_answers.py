"""Answers of reasoning models, cut-off answers and characters that no file holds, over real HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from interp.llm.client import Unreadable, run_with
from interp.llm.request import Message, Request
from tests.asking import client_of, question
from tests.endpoint_server import MODEL, Act, Script, chat_answer, raw, says, serving

ANSWER = '{"description": "names of {a, b}"}'
THOUGHT = 'Braces {a, b}, perhaps {"description": "a first idea"}.'


class Described(BaseModel):
    model_config = ConfigDict(extra="forbid")
    description: str


def message(finish: str = "stop", **fields: Any) -> Act:
    """Answer a conversation with a message of these fields, which ended for this reason."""

    def act(handler: Any, body: dict[str, Any]) -> None:
        answer = chat_answer("", body)
        answer["choices"][0] |= {"message": {"role": "assistant", **fields}, "finish_reason": finish}
        handler.send(200, answer)

    return act


WITH_THOUGHTS = {
    "think": says(f"<think>{THOUGHT}</think>{ANSWER}"),
    "think on lines of its own": says(f"<think>\n{THOUGHT}\n\n{THOUGHT}\n</think>\n\n{ANSWER}"),
    "opened by the template": says(f"{THOUGHT}\n{THOUGHT}\n</think>\n\n{ANSWER}"),
    "thinking": says(f"<thinking>{THOUGHT}</thinking>\n{ANSWER}"),
    "Seed-OSS": says(f"<seed:think>{THOUGHT}</seed:think>{ANSWER}"),
    "Magistral": says(f"[THINK]{THOUGHT}[/THINK]{ANSWER}"),
    "Mistral's API": message(
        content=[
            {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
            {"type": "text", "text": ANSWER},
        ]
    ),
    "gpt-oss": says(
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|>"
        f"<|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>"
    ),
    "vLLM with a parser": message(reasoning_content=THOUGHT, content=ANSWER),
}
NO_ANSWERS = {
    "a thought that was cut off": message("length", content=f"<think>{THOUGHT}"),
    "a thought that does not end": says(f"<think>{THOUGHT}"),
    "gpt-oss, cut off": says(f"<|channel|>analysis<|message|>{THOUGHT}"),
    "a thought beside no answer": message("length", reasoning_content=THOUGHT, content=None),
    "an object in an answer that was cut off": message("length", content=ANSWER + " Or, better, {"),
    "cut off at the model's context": message("model_length", content=ANSWER),
}


@pytest.mark.parametrize("act", WITH_THOUGHTS.values(), ids=WITH_THOUGHTS.keys())
def test_thoughts_are_dropped_before_an_answer_is_read(act: Act) -> None:
    with serving(Script().then(act)) as script:
        client = client_of(script)
        found = run_with(client.structured(question(), Described, 0), [client])
    assert found.description == "names of {a, b}"


@pytest.mark.parametrize("act", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_a_thought_or_an_answer_that_was_cut_off_is_no_answer(act: Act) -> None:
    with serving(Script().then(act, act)) as script:
        client = client_of(script)
        assert run_with(client.chat(question()), [client]).text == ""
        with pytest.raises(Unreadable):
            run_with(client.structured(question(), Described, 0), [client])


@pytest.mark.parametrize("said", ["the tag <think> and its end </think>", "a [THINK] within a line"])
def test_an_answer_about_thoughts_is_none_itself(said: str) -> None:
    with serving(Script(answer=lambda body: f'{{"description": "{said}"}}')) as script:
        client = client_of(script)
        assert run_with(client.structured(question(), Described, 0), [client]).description == said


def test_half_a_character_in_an_answer_becomes_a_mark() -> None:
    with serving(Script(answer=lambda body: "half \ud83d of one")) as script:
        client = client_of(script)
        assert run_with(client.chat(question()), [client]).text == "half \ufffd of one"


def test_a_thinking_model_has_room_to_think_on_top_of_its_answer() -> None:
    with serving() as script:
        client = client_of(script, thinking_tokens=2000)
        run_with(client.chat(question(max_tokens=50)), [client])
        capped = client_of(script, thinking_tokens=2000, max_tokens_per_call=1000)
        run_with(capped.chat(question(max_tokens=50)), [capped])
        assert [body["max_tokens"] for _, body in script.seen] == [2050, 1000]


@pytest.mark.parametrize(
    ("written", "finish", "read"),
    [
        (" Paris\n\nQuestion:\nand of", "length", "Paris"),
        ("\nParis, France\n\n", "stop", "Paris, France"),
        (" Paris", "stop", "Paris"),
        (" Paris, which is", "length", ""),
    ],
)
def test_a_base_model_is_asked_in_plain_text_and_answers_up_to_a_blank_line(
    written: str, finish: str, read: str, tmp_path: Path
) -> None:
    """No chat template takes part: the whole prompt is what is sent."""
    turns = (
        Message("system", "Name the capital."),
        Message("user", "Peru"),
        Message("assistant", "Lima"),
        Message("user", "France,\n\nEurope"),
    )
    asked = Request(turns, 7, 1.0, sample=3, schema={"type": "object"})
    body = {"choices": [{"index": 0, "text": written, "finish_reason": finish}]}
    with serving() as script:
        client = client_of(script.then(raw(json.dumps(body).encode())), tmp_path, api="completions")
        first, again = (run_with(client.chat(asked), [client]) for _ in range(2))
    assert script.seen == [
        (
            "/v1/completions",
            {
                "model": MODEL, "max_tokens": 7, "temperature": 1.0, "seed": 3,
                "prompt": "Name the capital.\n\nQuestion:\nPeru\nAnswer: Lima\n\n"
                "Question:\nFrance,\nEurope\nAnswer:",
            },
        )
    ]  # fmt: skip
    assert first.text == again.text == read and again.cached
    assert (first.finish_reason == "length") == (read == "")
