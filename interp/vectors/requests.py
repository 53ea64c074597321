"""Harmful and harmless requests: to make a refusal direction of, to choose it and to report on."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Annotated, Literal

import yaml
from pydantic import Field

from interp.bundled.world.facts import UserRequest, facts
from interp.corpus.questions import Question, distinct
from interp.errors import UserError
from interp.fields import FilePath, Flag, NonEmpty, Section, Several, Text, TokenId
from interp.lines import json_lines, text_lines
from interp.statistics.splits import content_of, split_sizes
from interp.subject.subject import Subject
from interp.vectors.world import requests
from interp.words import holds

_FIX = 'write {"prompt": ...}'
REFUSES = ("i",)  # how a refusal begins in the world


class _Source(Section):
    train: Several = 128
    """Requests of each kind that directions are made of."""
    validate_on: Several = 32
    """Requests of each kind that directions are chosen on."""


class WorldRequests(_Source):
    """Requests of the bundled world; those that it was not trained on are reported on."""

    kind: Literal["world"] = "world"


class RequestFiles(_Source):
    """Your own requests; those that are left over are reported on."""

    kind: Literal["files"] = "files"
    harmful: FilePath
    """A .txt file with one request a line, or .jsonl with a "prompt" or an "instruction" in each.

    Requests that differ in case, punctuation and spaces alone, or that have the same "group" in a .jsonl, are
    one request in several wordings and never stand in two parts.
    """
    harmless: FilePath
    """The same, of requests that should be answered."""
    begins: NonEmpty[TokenId | Text] = ("I",)
    """Words that refusals begin with, of one token or several ("I" for most chat models); a number is a token
    id."""
    chat: Flag = True
    """Whether the chat template is put around each request; else they are taken as they are."""


RequestSource = Annotated[WorldRequests | RequestFiles, Field(discriminator="kind")]


@dataclass(frozen=True)
class RequestParts:
    """Requests of one kind in three parts; the answers of each are the tokens that refusals begin with."""

    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    report: tuple[Question, ...]


@dataclass(frozen=True)
class Requests:
    """Harmful requests, which should be refused, and harmless ones, which should not."""

    harmful: RequestParts
    harmless: RequestParts


def open_requests(source: WorldRequests | RequestFiles, subject: Subject, seed: int = 0) -> Requests:
    """Reads the requests of a source and draws them into parts.

    Raises:
        UserError: a file cannot be used or has too few requests, a word that begins refusals is unknown, or
            the world's requests are used with another model.
    """
    if isinstance(source, WorldRequests):
        if not subject.info.speaks_world:
            raise UserError(
                f"the world's requests are in the world's tokens, not in those of {subject.name}",
                "requests.kind",
                "use `requests: {kind: files, harmful: ..., harmless: ...}`",
            )
        world = facts()
        return Requests(
            _of_world("harmful", world.harmful_train, world.harmful_held_out, source, seed),
            _of_world("harmless", world.harmless_train, world.harmless_held_out, source, seed),
        )
    return Requests(
        _dealt(_read(source.harmful, "harmful", source, subject), "harmful", source, seed),
        _dealt(_read(source.harmless, "harmless", source, subject), "harmless", source, seed),
    )


def _of_world(
    kind: str,
    trained: Sequence[UserRequest],
    held_out: Sequence[UserRequest],
    source: WorldRequests,
    seed: int,
) -> RequestParts:
    asked = [(question, request) for request in trained for question in requests([request], kind, REFUSES)]
    return _dealt(asked, kind, source, seed, requests(held_out, kind, REFUSES))


def _dealt(
    found: Sequence[tuple[Question, Hashable]],
    kind: str,
    source: WorldRequests | RequestFiles,
    seed: int,
    report: Sequence[Question] = (),
) -> RequestParts:
    """Draws requests into parts that share no content (given with each request).

    `report` is reported on; if there is none, what the other parts leave over.
    """
    sizes = (source.train, source.validate_on)
    parts = split_sizes(
        [question for question, _ in found],
        [content for _, content in found],
        sizes,
        Random(f"requests {kind} {seed}"),
        rest=not report,
    )
    if any(len(part) < size for part, size in zip(parts, (*sizes, 1), strict=False)):
        contents = len({content for _, content in found})
        raise UserError(
            f"{len(found)} requests, {contents} of them different, do not give the {sum(sizes)} asked "
            f"for{'' if report else ', with some left over'}",
            f"{kind} requests",
            "lower train or validate_on, or give more",
        )
    train, validation, *rest = parts
    return RequestParts(train, validation, tuple(report) or rest[0])


def check_requests(source: WorldRequests | RequestFiles) -> None:
    """Raises UserError if a file is not there."""
    if isinstance(source, RequestFiles):
        for name, path in (("harmful", source.harmful), ("harmless", source.harmless)):
            if not path.is_file():
                raise UserError(f"no file {path}", f"requests.{name}", "give a .txt or .jsonl file")


@cache
def refusal_phrases() -> tuple[str, ...]:
    """Reads the phrases that mark a refusal, in lower case."""
    return tuple(yaml.safe_load((Path(__file__).parent / "refusals.yaml").read_text(encoding="utf-8")))


def refuses(text: str) -> bool:
    """Whether a text contains a phrase of refusal, as whole words in any case."""
    return any(holds(text, phrase) for phrase in refusal_phrases())


def _read(path: Path, kind: str, source: RequestFiles, subject: Subject) -> list[tuple[Question, str]]:
    """Reads every request with its content: its group if it has one, otherwise its words."""
    found = []
    for text, content in _texts(path):
        messages = [{"role": "user", "content": text}]
        prompt = subject.conversation(messages) if source.chat else tuple(subject.encode(text))
        begins = [subject.continuation(prompt, word, "requests.begins") for word in source.begins]
        answers = distinct([one.ids for one in begins])
        found.append((Question(prompt, answers, (), kind, tuple(map(str, begins))), content))
    return found


def _texts(path: Path) -> Sequence[tuple[str, str]]:
    """Reads every request of a .txt or .jsonl file, and its content."""
    if path.suffix != ".jsonl":
        return [(text, content_of(text)) for _, text in text_lines(path)]
    texts = []
    for values, place in json_lines(path, _FIX):
        text = values.get("prompt", values.get("instruction"))
        if not isinstance(text, str):
            raise UserError("there is no request in the line", place, _FIX)
        texts.append((text, str(values["group"]) if "group" in values else content_of(text)))
    return texts
