"""Relations (as in Hernandez et al. 2024): subjects, objects, and the sentences that ask for the object."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from interp.bundled.world.facts import facts
from interp.corpus.first_token import told_apart
from interp.errors import UserError, quoted
from interp.fields import FilePath, NonEmpty, Section, Text, Word
from interp.json_text import read_json
from interp.lenses.item_source import WorldItems
from interp.shape import Shape
from interp.subject.folder import SubjectInfo
from interp.subject.subject import Subject

FILLER = " , as we know ,"
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")


@dataclass(frozen=True)
class Relation:
    """Pairs of subject and object, and templates with {} for the subject that end before the object.

    `separator` joins sentences where several are shown one after the other.
    """

    name: str
    templates: tuple[str, ...]
    samples: tuple[tuple[str, str], ...]
    kind: str = ""
    separator: str = "\n"

    def ask(self, subject: str, shown: Sequence[tuple[str, str]] = ()) -> str:
        """Fills the first template with a subject, after the samples `shown` (its own is left out)."""
        template = self.templates[0]
        lines = [f"{filled(template, other)} {answer}" for other, answer in shown if other != subject]
        return self.separator.join([*lines, filled(template, subject)])


@dataclass(frozen=True)
class _Sample:
    subject: str
    object: str


@dataclass(frozen=True)
class _File:
    """What a relation's file holds."""

    name: str
    prompt_templates: list[str]
    samples: list[_Sample]
    properties: dict[str, Any] = field(default_factory=dict)


_SHAPE = Shape[_File](_File)
_FIX = 'write {"name": ..., "prompt_templates": [...], "samples": [{"subject": ..., "object": ...}]}'


def filled(template: str, word: str) -> str:
    """Puts a word in the place of {}; other braces are text."""
    return template.replace("{}", word)


class WorldRelations(WorldItems):
    """Relations of the bundled world."""

    relations: NonEmpty[Word] = (
        "capital",
        "language",
        "currency",
        "continent",
        "country",
        "spouse",
        "performer",
    )
    """Names; "country" of capitals and performers."""

    def check(self, model: SubjectInfo, field: str = "relations") -> None:
        """Raises UserError if another model is asked, or the world has no such relation."""
        super().check(model, field)
        for name in self.relations:
            world_relation(name)

    def open(self, subject: Subject) -> list[Relation]:
        """The relations; UserError as `check`."""
        self.check(subject.info)
        return [world_relation(name) for name in self.relations]


class RelationFiles(Section):
    """Your own relations."""

    kind: Literal["files"] = "files"
    paths: NonEmpty[FilePath]
    """JSON files with "name", "prompt_templates" with {}, and "samples" (as in evandez/relations)."""
    separator: Text = "\n"
    """Stands between sentences where several are shown."""

    def check(self, model: SubjectInfo, field: str = "relations") -> None:
        """Raises UserError if a file is not there or not a relation."""
        for path in self.paths:
            read_relation(path, self.separator)

    def open(self, subject: Subject) -> list[Relation]:
        """The relations; UserError as `check`."""
        return [read_relation(path, self.separator) for path in self.paths]


RelationSource = Annotated[WorldRelations | RelationFiles, Field(discriminator="kind")]


def told_apart_by_first(relation: Relation, subject: Subject) -> tuple[Relation, tuple[str, ...]]:
    """Leaves out samples whose object's first token does not identify it (`told_apart`); returns notes, too.

    Raises:
        UserError: no sample is left, or the subject does not know a word.
    """
    answers = [[subject.continuation(relation.ask(name), answer)] for name, answer in relation.samples]
    kept, notes = told_apart(answers, what=f"samples of {relation.name}")
    if not kept:
        raise UserError(
            " ".join(notes).rstrip("."),
            f"relation {relation.name}",
            "leave it out: a first token does not tell its objects apart",
        )
    return replace(relation, samples=tuple(relation.samples[place] for place in kept)), notes


def world_relation(name: str) -> Relation:
    """Makes a relation of the world: "the capital of {} , as we know , is", with all its facts."""
    relations = facts().relations
    if name not in relations:
        raise UserError(f"the world has no relation {name!r}", "relations", f"use {', '.join(relations)}")
    samples = tuple(relations[name].items())
    return Relation(name, (f"the {name} of {{}}{FILLER} is",), samples, "factual", " . ")


def read_relation(path: Path, separator: str = "\n") -> Relation:
    """Reads a relation from its JSON file; escapes written twice ("\\\\u00ed") are undone.

    Raises:
        UserError: there is no such file, or it is not a relation.
    """
    found = _SHAPE.of(read_json(path, _FIX), str(path), _FIX)
    try:
        samples = [(_unescaped(row.subject), _unescaped(row.object)) for row in found.samples]
        templates = [_unescaped(template) for template in found.prompt_templates]
    except UnicodeDecodeError:
        raise UserError("half a character (a lone surrogate)", str(path), "take it out") from None
    name, kind = found.name, str(found.properties.get("relation_type", ""))
    for template in templates:
        if template.count("{}") != 1:
            raise UserError(
                f"the template {quoted(template)} has not one {{}}", str(path), "mark the subject's place"
            )
    if not templates or not samples:
        raise UserError("the relation has no template or no sample", str(path), "write some")
    return Relation(name, tuple(templates), tuple(dict(samples).items()), kind, separator)


def _unescaped(text: str) -> str:
    halves = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return halves.encode("utf-16", "surrogatepass").decode("utf-16") if halves != text else text
