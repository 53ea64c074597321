"""Read what endpoints answer; what cannot be read is said, never guessed."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from interp.errors import UserError
from interp.llm.request import Reply, TokenLogprobs, Usage
from interp.outside import whole_characters

Model = TypeVar("Model", bound=BaseModel)


CUT_OFF = ("length", "model_length")
"""Why an answer ended that reached its limit of tokens, or the model's."""
_OPEN, _CLOSED = (rf"(?:<{end}(?:think|thinking|seed:think)>|\[{end}THINK\])" for end in ("", "/"))
_THOUGHT = re.compile(rf"^[ \t]*{_OPEN}.*?(?:{_CLOSED}|\Z)", re.DOTALL | re.MULTILINE)
_THOUGHT_BEGUN_BEFORE = re.compile(rf"\A.*?(?:^[ \t]*{_CLOSED}|{_CLOSED}[ \t]*$)", re.DOTALL | re.MULTILINE)
_FINAL = "<|channel|>final<|message|>"


class Unreadable(Exception):
    """An answer that does not say what was asked for: why, and the answer."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text


def reply_of(body: Mapping[str, Any], cached: bool) -> Reply:
    """The answer in the body of a chat completion, without thoughts; empty where it was cut off."""
    try:
        choice = body["choices"][0]
        content = choice["message"].get("content") or ""
        if isinstance(content, list):  # in parts: Mistral's reasoning models
            content = "".join(part["text"] for part in content if part["type"] == "text")
        finish = str(choice.get("finish_reason") or "")
        given = (choice.get("logprobs") or {}).get("content")
        logprobs = None if not given else tuple(_token(one) for one in given)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise _no_answer(error) from error
    text = "" if finish in CUT_OFF else without_thoughts(whole_characters(str(content))[0])
    return Reply(text, finish, Usage(*used_by(body)), logprobs, cached)


def without_thoughts(content: str) -> str:
    """What a reasoning model says after it has thought, where the server leaves its thoughts in the answer.

    A thought begins a line: `<think>` (most models), `<thinking>`, `<seed:think>` (Seed-OSS) or `[THINK]`
    (Magistral); where the chat template has opened it, only its end is there. gpt-oss thinks in
    other channels than `final`. Nothing is left of a thought that does not end.
    """
    if "<|channel|>" in content:
        return content.rpartition(_FINAL)[2].partition("<|")[0] if _FINAL in content else ""
    return _THOUGHT_BEGUN_BEFORE.sub("", _THOUGHT.sub("", content))


def used_by(body: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens of the prompt and of the answer, as the server counted them; zero where it does not say."""
    try:
        usage = body.get("usage") or {}
        return int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (TypeError, ValueError, AttributeError) as error:
        raise _no_answer(error) from error


def value_of(text: str, kind: type[Model]) -> Model:
    """The model that an answer holds as JSON, alone or with words or a fence around it.

    Raises:
        Unreadable: there is no JSON, or it is not what was asked for.
    """
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise Unreadable("there is no JSON object in it", text)
    try:
        return kind.model_validate_json(text[start : end + 1])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Unreadable(f"{first['msg']}{f' at {place}' if place else ''}", text) from None


def embeddings_of(body: Mapping[str, Any], n: int) -> list[list[float]]:
    """The vectors in the body of an embedding call, by their index."""
    try:
        found = sorted(body["data"], key=lambda one: one["index"])
        vectors = [[float(number) for number in one["embedding"]] for one in found]
    except (KeyError, TypeError, ValueError) as error:
        raise _no_answer(error) from error
    if len(vectors) != n or len({len(vector) for vector in vectors}) > 1:
        raise _no_answer(ValueError(f"{len(vectors)} vectors for {n} texts"))
    return vectors


def prompt_logprobs_of(body: Mapping[str, Any], prompt: str) -> tuple[TokenLogprobs, ...] | None:
    """The log-probabilities of a prompt's tokens in the body of a completion; None if it has none.

    Two forms are read: `prompt_logprobs` of vLLM, and the echo of the completions API, whose tokens laid end
    to end begin with the prompt.
    """
    try:
        choice = body["choices"][0]
        if choice.get("prompt_logprobs"):
            return tuple(_vllm_token(one) for one in choice["prompt_logprobs"])
        given = choice.get("logprobs") or {}
        tokens: Sequence[str] = given.get("tokens") or ()
        if not prompt.startswith("".join(tokens)[: len(prompt)]) or len("".join(tokens)) < len(prompt):
            return None
        tops = given.get("top_logprobs") or [None] * len(tokens)
        found, length = [], 0
        for token, logprob, top in zip(tokens, given["token_logprobs"], tops, strict=True):
            if length >= len(prompt):
                break
            found.append(TokenLogprobs(token, logprob, dict(top or {})))
            length += len(token)
        return tuple(found)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None


def _token(one: Mapping[str, Any]) -> TokenLogprobs:
    top = {str(other["token"]): float(other["logprob"]) for other in one.get("top_logprobs") or ()}
    return TokenLogprobs(str(one["token"]), float(one["logprob"]), top)


def _vllm_token(one: Mapping[str, Any] | None) -> TokenLogprobs:
    """The prompt's own token has the smallest rank that is given for it: it comes first."""
    if not one:
        return TokenLogprobs("", None, {})
    entries = list(one.values())
    top = {str(entry["decoded_token"]): float(entry["logprob"]) for entry in entries}
    return TokenLogprobs(str(entries[0]["decoded_token"]), float(entries[0]["logprob"]), top)


def _no_answer(error: Exception) -> UserError:
    return UserError(
        f"the endpoint's answer has not the form of one ({type(error).__name__}: {error})",
        "the answer of the endpoint",
        "check that base_url is an OpenAI-compatible server",
    )


def json_words(schema: Mapping[str, Any]) -> str:
    """The request, in words, to keep to a schema."""
    return "Answer with one JSON object and nothing else. It has to follow this JSON schema: " + json.dumps(
        schema, ensure_ascii=False
    )
