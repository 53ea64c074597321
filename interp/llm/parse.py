"""Read what endpoints answer; what cannot be read is reported, never guessed."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interp.errors import UserError
from interp.json_text import each_string, from_json
from interp.llm.request import TURN_END, Reply, TokenLogprobs, Usage

Model = TypeVar("Model", bound=BaseModel)
LONGEST_TOKEN = 200
"""Characters per token; an answer with more is refused as impossible."""
MOST_TOKENS = 10_000_000
"""More than one call can use; a larger count of a server is ignored."""
LONGEST_NAME = 200


CUT_OFF = ("length", "model_length")
"""Reasons (`finish_reason`) of answers that reached their limit of tokens, or the model's."""
_OPEN, _CLOSED = (rf"(?:<{end}(?:think|thinking|seed:think)>|\[{end}THINK\])" for end in ("", "/"))
_THOUGHT = re.compile(rf"^[ \t]*{_OPEN}.*?(?:{_CLOSED}|\Z)", re.DOTALL | re.MULTILINE)
_THOUGHT_BEGUN_BEFORE = re.compile(rf"\A.*?(?:^[ \t]*{_CLOSED}|{_CLOSED}[ \t]*$)", re.DOTALL | re.MULTILINE)
_FINAL = "<|channel|>final<|message|>"


class Unreadable(Exception):
    """An answer without what was asked for: says why, and holds the answer."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text


class _Form(BaseModel):
    """A part of an answer, of the right types and with finite numbers; further keys are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


_Logprob = Annotated[float, Field(le=1.0)]  # rounding may bring a certain token above zero, but no further


class _Part(_Form):
    type: str
    text: str | None = None


class _Message(_Form):
    content: str | list[_Part] | None = None  # in parts: Mistral's reasoning models


class _Alternative(_Form):
    token: str
    logprob: _Logprob


class _Token(_Alternative):
    top_logprobs: list[_Alternative] | None = None


class _Logprobs(_Form):
    content: list[_Token] | None = None


class _Choice(_Form):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Entry(_Form):
    decoded_token: str | None
    logprob: _Logprob


class _Echo(_Form):
    tokens: list[str] = []
    token_logprobs: list[_Logprob | None] = []
    top_logprobs: list[dict[str, _Logprob] | None] | None = None


class _Completion(_Form):
    prompt_logprobs: list[dict[str, _Entry] | None] | None = None
    logprobs: _Echo | None = None


class _Completed(_Form):
    text: str
    finish_reason: str | None = None


class _Choices(_Form):
    choices: Annotated[list[Any], Field(min_length=1)]


class _Vector(_Form):
    index: int
    embedding: Annotated[list[float], Field(min_length=1)]


class _Vectors(_Form):
    data: list[_Vector]


def reply_of(body: Mapping[str, Any], cached: bool, might: tuple[int, int]) -> Reply:
    """The answer in the body of a chat completion, without thoughts; empty where it was cut off.

    `might` are the most tokens, sent and answered, that the call may have used.

    Raises:
        UserError: it has another form, or is longer than it can be.
    """
    try:
        choice = _Choice.model_validate(_Choices.model_validate(body).choices[0])
    except ValidationError as error:
        raise _no_answer(_first(error)) from None
    content = choice.message.content or ""
    if isinstance(content, list):
        content = "".join(part.text or "" for part in content if part.type == "text")
    _check_length(content, might)
    finish = choice.finish_reason or ""
    given = None if choice.logprobs is None else choice.logprobs.content
    logprobs = None if not given else tuple(_token(one) for one in given)
    text = "" if finish in CUT_OFF else without_thoughts(content)
    return Reply(text, finish, Usage(*used_by(body, might)), logprobs, cached)


def completion_of(body: Mapping[str, Any], cached: bool, might: tuple[int, int]) -> Reply:
    """The answer in the body of a completion of `as_text`: what stands before the end of the turn.

    Raises:
        UserError: as `reply_of`.
    """
    try:
        choice = _Completed.model_validate(_Choices.model_validate(body).choices[0])
    except ValidationError as error:
        raise _no_answer(_first(error)) from None
    _check_length(choice.text, might)
    text, ended, _ = choice.text.lstrip().partition(TURN_END)
    finish = "stop" if ended else choice.finish_reason or ""
    return Reply("" if finish in CUT_OFF else text, finish, Usage(*used_by(body, might)), None, cached)


def _check_length(content: str, might: tuple[int, int]) -> None:
    if len(content) > LONGEST_TOKEN * (might[1] + 10):
        raise _no_answer(f"{len(content):,} characters in {might[1]:,} tokens")


def without_thoughts(content: str) -> str:
    """Removes a reasoning model's thoughts from an answer in which the server left them.

    A thought begins a line: `<think>` (most models), `<thinking>`, `<seed:think>` (Seed-OSS) or `[THINK]`
    (Magistral); if the chat template opened it, the answer holds only its end tag. gpt-oss thinks in
    other channels than `final`. A thought without an end is removed whole.
    """
    if "<|channel|>" in content:
        return content.rpartition(_FINAL)[2].partition("<|")[0] if _FINAL in content else ""
    return _THOUGHT_BEGUN_BEFORE.sub("", _THOUGHT.sub("", content))


def used_by(body: Mapping[str, Any], might: tuple[int, int]) -> tuple[int, int]:
    """Tokens of the prompt and of the answer, as the server counted them.

    If it gives no possible number (missing, below one, not whole, too large), what the call might have used
    counts, so that no server can evade a budget.
    """
    usage = body.get("usage")
    said = usage if isinstance(usage, Mapping) else {}
    counts = (said.get("prompt_tokens"), said.get("completion_tokens"))
    sent, answered = (
        count if type(count) is int and 0 < count <= MOST_TOKENS else most
        for count, most in zip(counts, might, strict=True)
    )
    return sent, answered


def value_of(text: str, kind: type[Model], hidden: Callable[[str], str] = lambda text: text) -> Model:
    """The model that an answer holds as JSON, alone or with words or a fence around it.

    `hidden` is applied to each of its strings, to take secrets out.

    Raises:
        Unreadable: there is no JSON, or it is not what was asked for.
    """
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise Unreadable("there is no JSON object in it", text)
    try:
        found = from_json(text[start : end + 1], "the answer", "")
        return kind.model_validate_json(json.dumps(each_string(found, hidden)))
    except UserError as error:
        raise Unreadable(error.thing, text) from None
    except ValidationError as error:
        raise Unreadable(_first(error), text) from None


def embeddings_of(body: Mapping[str, Any], n: int, width: int = 0) -> list[list[float]]:
    """The vectors in the body of an embedding call, by their index.

    Raises:
        UserError: it has another form, or there are not `n` vectors of one width, of `width` if given.
    """
    try:
        found = {one.index: one.embedding for one in _Vectors.model_validate(body).data}
    except ValidationError as error:
        raise _no_answer(_first(error)) from None
    if sorted(found) != list(range(n)):
        raise _no_answer(f"{len(found)} vectors for {n} texts")
    widths = {len(vector) for vector in found.values()}
    if len(widths) > 1 or (width and widths != {width}):
        given = " and ".join(map(str, sorted(widths)[:3]))
        raise UserError(
            f"the vectors have {given} numbers, not {width or 'one width'}",
            "the answer of the endpoint",
            "set the right width, and see that the server has one model only",
        )
    return [found[place] for place in range(n)]


def prompt_logprobs_of(body: Mapping[str, Any], prompt: str) -> tuple[TokenLogprobs, ...] | None:
    """The log-probabilities of a prompt's tokens in the body of a completion; None if it has none.

    Two forms are read: `prompt_logprobs` of vLLM, and the echo of the completions API, whose concatenated
    tokens begin with the prompt.
    """
    try:
        choice = _Completion.model_validate(_Choices.model_validate(body).choices[0])
    except ValidationError:
        return None
    if choice.prompt_logprobs:
        return tuple(_vllm_token(one) for one in choice.prompt_logprobs)
    given = choice.logprobs or _Echo()
    spelled = "".join(given.tokens)
    tops = given.top_logprobs or [None] * len(given.tokens)
    if not spelled.startswith(prompt) or not len(given.tokens) == len(given.token_logprobs) == len(tops):
        return None
    found, length = [], 0
    for token, logprob, top in zip(given.tokens, given.token_logprobs, tops, strict=True):
        if length >= len(prompt):
            break
        found.append(TokenLogprobs(token, logprob, top or {}))
        length += len(token)
    return tuple(found)


def _token(one: _Token) -> TokenLogprobs:
    top = {other.token: other.logprob for other in one.top_logprobs or ()}
    return TokenLogprobs(one.token, one.logprob, top)


def _vllm_token(one: Mapping[str, _Entry] | None) -> TokenLogprobs:
    """The first entry, which is the prompt's own token, with all entries as alternatives."""
    if not one:
        return TokenLogprobs("", None, {})
    entries = [(entry.decoded_token or "", entry.logprob) for entry in one.values()]
    return TokenLogprobs(*entries[0], dict(entries))


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, and where, without quoting the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))[:LONGEST_NAME]
    wrong = first["msg"].partition(" or instance of ")[0]
    return f"{wrong}{f' at {place}' if place else ''}"


def _no_answer(wrong: str) -> UserError:
    return UserError(
        f"the endpoint's answer is malformed ({wrong})",
        "the answer of the endpoint",
        "check that base_url is an OpenAI-compatible server",
    )


def json_words(schema: Mapping[str, Any]) -> str:
    """A sentence that asks a model to follow a JSON schema."""
    return "Answer with one JSON object and nothing else. It has to follow this JSON schema: " + json.dumps(
        schema, ensure_ascii=False
    )
