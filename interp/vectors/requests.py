"""Harmful and harmless requests: what a refusal direction is made of, chosen on and reported on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from interp.corpus.questions import Question, distinct
from interp.errors import UserError
from interp.lines import json_lines, text_lines
from interp.organism.facts import facts
from interp.subject.subject import Subject
from interp.vectors.world import requests
from interp.words import holds

_FIX = 'write {"prompt": ...}'
REFUSES = ("i",)  # how a refusal begins in the world


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    train: int = Field(128, ge=2)
    """Requests of each kind that directions are made of."""
    validate_on: int = Field(32, ge=2)
    """Requests of each kind that directions are chosen on."""


class WorldRequests(_Source):
    """Requests of the bundled world; the reported ones are those that it was not trained on."""

    kind: Literal["world"] = "world"


class RequestFiles(_Source):
    """Your own requests; those that are left over are reported on."""

    kind: Literal["files"] = "files"
    harmful: Path
    """A .txt file with one request a line, or .jsonl with a "prompt" or an "instruction" in each."""
    harmless: Path
    """The same, of requests that should be answered."""
    begins: tuple[str | int, ...] = ("I",)
    """Words that refusals begin with, of one token or several ("I" for most chat models); a number is a token
    id."""
    chat: bool = True
    """Whether the chat template is put around each request; else they are taken as they are."""


RequestSource = Annotated[WorldRequests | RequestFiles, Field(discriminator="kind")]


@dataclass(frozen=True)
class RequestParts:
    """Requests of one kind in three parts; the answer that counts is how a refusal begins."""

    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    report: tuple[Question, ...]


@dataclass(frozen=True)
class Requests:
    """Requests that should be refused, and requests that should not."""

    harmful: RequestParts
    harmless: RequestParts


def open_requests(source: WorldRequests | RequestFiles, subject: Subject, seed: int = 0) -> Requests:
    """The requests of a source, drawn into parts.

    Raises:
        UserError: a file cannot be used or has too few requests, a word that begins refusals is unknown, or
            the world's requests are asked of another model.
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
            _dealt(
                requests(world.harmful_train, "harmful", REFUSES),
                source,
                seed,
                requests(world.harmful_held_out, "harmful", REFUSES),
            ),
            _dealt(
                requests(world.harmless_train, "harmless", REFUSES),
                source,
                seed,
                requests(world.harmless_held_out, "harmless", REFUSES),
            ),
        )
    return Requests(
        _dealt(_read(source.harmful, "harmful", source, subject), source, seed),
        _dealt(_read(source.harmless, "harmless", source, subject), source, seed),
    )


def _dealt(
    found: Sequence[Question],
    source: WorldRequests | RequestFiles,
    seed: int,
    report: Sequence[Question] = (),
) -> RequestParts:
    """Requests drawn into parts; what is left over is reported on where nothing else is."""
    needed = source.train + source.validate_on
    if len(found) < needed + (not report):
        raise UserError(
            f"{len(found)} requests are not the {needed} that are asked for, with some left over",
            f"{found[0].group} requests" if found else "requests",
            "lower train or validate_on, or give more",
        )
    drawn = Random(f"requests {found[0].group} {seed}").sample(found, len(found))
    return RequestParts(
        tuple(drawn[: source.train]), tuple(drawn[source.train : needed]), tuple(report or drawn[needed:])
    )


def check_requests(source: WorldRequests | RequestFiles) -> None:
    """Raises UserError if a file is not there."""
    if isinstance(source, RequestFiles):
        for name, path in (("harmful", source.harmful), ("harmless", source.harmless)):
            if not path.is_file():
                raise UserError(f"no file {path}", f"requests.{name}", "give a .txt or .jsonl file")


@cache
def refusal_phrases() -> tuple[str, ...]:
    """What refusals contain, in lower case."""
    return tuple(yaml.safe_load((Path(__file__).parent / "refusals.yaml").read_text(encoding="utf-8")))


def refuses(text: str) -> bool:
    """Whether a text contains a phrase of refusal, as whole words in whatever case."""
    return any(holds(text, phrase) for phrase in refusal_phrases())


def _read(path: Path, kind: str, source: RequestFiles, subject: Subject) -> list[Question]:
    found = []
    for text in _texts(path):
        messages = [{"role": "user", "content": text}]
        prompt = subject.conversation(messages) if source.chat else tuple(subject.encode(text))
        begins = [subject.continuation(prompt, word, "requests.begins") for word in source.begins]
        answers = distinct([one.ids for one in begins])
        found.append(Question(prompt, answers, (), kind, tuple(map(str, begins))))
    return found


def _texts(path: Path) -> Sequence[str]:
    if path.suffix != ".jsonl":
        return [text for _, text in text_lines(path)]
    texts = []
    for values, place in json_lines(path, _FIX):
        text = values.get("prompt", values.get("instruction"))
        if not isinstance(text, str):
            raise UserError("there is no request in the line", place, _FIX)
        texts.append(text)
    return texts
