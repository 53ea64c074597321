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
from interp.subject.folder import SubjectInfo
from interp.subject.subject import Subject
from interp.vectors.world import requests
from interp.words import holds

_FIX = 'write {"prompt": ...}'
REFUSES = ("i",)  # how a refusal begins in the world


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


class _Source(Section):
    train: Several = 128
    """Requests of each kind that directions are made of."""
    validate_on: Several = 32
    """Requests of each kind that directions are chosen on."""

    def _split(
        self,
        found: Sequence[tuple[Question, Hashable]],
        kind: str,
        seed: int,
        report: Sequence[Question] = (),
    ) -> RequestParts:
        """Draws requests into parts that share no content (given with each request).

        `report` is reported on; if there is none, what the other parts leave over.
        """
        sizes = (self.train, self.validate_on)
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


class WorldRequests(_Source):
    """Requests of the bundled world; those that it was not trained on are reported on."""

    kind: Literal["world"] = "world"

    def check(self, model: SubjectInfo, field: str = "requests") -> None:
        """Raises UserError if another model is to be asked."""
        if not model.speaks_world:
            raise UserError(
                f"the world's requests are in the world's tokens, not in those of {model.name}",
                f"{field}.kind",
                f"use `{field}: {{kind: files, harmful: ..., harmless: ...}}`",
            )

    def open(self, subject: Subject, seed: int = 0) -> Requests:
        """Draws the requests into parts.

        Raises:
            UserError: there are too few requests, or another model is asked.
        """
        self.check(subject.info)
        world = facts()
        return Requests(
            self._parts("harmful", world.harmful_train, world.harmful_held_out, seed),
            self._parts("harmless", world.harmless_train, world.harmless_held_out, seed),
        )

    def _parts(
        self, kind: str, trained: Sequence[UserRequest], held_out: Sequence[UserRequest], seed: int
    ) -> RequestParts:
        asked = [(question, one) for one in trained for question in requests([one], kind, REFUSES)]
        return self._split(asked, kind, seed, requests(held_out, kind, REFUSES))


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

    def check(self, model: SubjectInfo, field: str = "requests") -> None:
        """Raises UserError if a file is not there."""
        for name, path in (("harmful", self.harmful), ("harmless", self.harmless)):
            if not path.is_file():
                raise UserError(f"no file {path}", f"{field}.{name}", "give a .txt or .jsonl file")

    def open(self, subject: Subject, seed: int = 0) -> Requests:
        """Reads the requests and draws them into parts.

        Raises:
            UserError: a file cannot be used or has too few requests, or a word that begins refusals is
                unknown.
        """
        return Requests(
            self._split(self._read(self.harmful, "harmful", subject), "harmful", seed),
            self._split(self._read(self.harmless, "harmless", subject), "harmless", seed),
        )

    def _read(self, path: Path, kind: str, subject: Subject) -> list[tuple[Question, str]]:
        """Reads every request with its content: its group if it has one, otherwise its words."""
        found = []
        for text, content in _texts(path):
            messages = [{"role": "user", "content": text}]
            prompt = subject.conversation(messages) if self.chat else tuple(subject.encode(text))
            begins = [subject.continuation(prompt, word, "requests.begins") for word in self.begins]
            answers = distinct([one.ids for one in begins])
            found.append((Question(prompt, answers, (), kind, tuple(map(str, begins))), content))
        return found


RequestSource = Annotated[WorldRequests | RequestFiles, Field(discriminator="kind")]


@cache
def refusal_phrases() -> tuple[str, ...]:
    """Reads the phrases that mark a refusal, in lower case."""
    return tuple(yaml.safe_load((Path(__file__).parent / "refusals.yaml").read_text(encoding="utf-8")))


def refuses(text: str) -> bool:
    """Whether a text contains a phrase of refusal, as whole words in any case."""
    return any(holds(text, phrase) for phrase in refusal_phrases())


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
