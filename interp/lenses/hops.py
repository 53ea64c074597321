"""Two-hop questions: a first relation leads from an entity to a bridge, a second to the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool
from pydantic import Field

from interp.bundled.world.facts import TwoHop, facts
from interp.corpus.first_token import ToldApart, told_apart
from interp.errors import UserError
from interp.fields import FilePath, NonEmpty, Text
from interp.lenses.answers import Answers
from interp.lenses.item_source import ItemFile, WorldItems
from interp.lenses.prompt import check_length, prompt_at, span_positions
from interp.lines import json_lines
from interp.subject.subject import Subject

HopSplit = Literal["trained", "held_out", "unseen_entities"]


@dataclass(frozen=True)
class HopQuestion:
    """Texts that end where the answer begins: `first` asks for the bridge, `second` for the bridge's answer.

    `shortcuts` are questions from which the answer should not be known: the second relation asked of the
    entity itself. `relation` are words between the entity and the second relation. Questions of one `group`
    have the same two relations.
    """

    text: str
    entity: str
    bridge: tuple[str, ...]
    answer: tuple[str, ...]
    first: str
    second: str
    group: str
    relation: str = ""
    shortcuts: tuple[str, ...] = ()


class WorldHops(WorldItems):
    """Two-hop questions of the bundled world."""

    parts: NonEmpty[HopSplit] = ("held_out", "unseen_entities")
    """Which: trained, unseen combinations of trained entities, or entities that no two-hop question named."""
    filler: Text = ", as we know ,"
    """Words between a question and its answer; may be empty."""

    def open(self, subject: Subject, new_tokens: int = 0) -> list[HopQuestion]:
        """The questions, with room for `new_tokens` after each.

        Raises:
            UserError: the model does not speak the world's words, or a question does not fit its context.
        """
        self.check(subject.info, "questions")
        return _checked(_of_world(self), subject, new_tokens)


class HopFile(ItemFile):
    """Your own questions."""

    path: FilePath
    """A .jsonl file; each line has "question", "entity", "bridge", "answer", "first" and "second", and may
    have "relation", "shortcuts" and "group". Bridge and answer are a word or a list of spellings."""

    def open(self, subject: Subject, new_tokens: int = 0) -> list[HopQuestion]:
        """The questions, with room for `new_tokens` after each.

        Raises:
            UserError: a line cannot be used (says which, and why), an entity is not in its question, or a
                question does not fit the context.
        """
        return _checked(_read(self.path), subject, new_tokens)


HopSource = Annotated[WorldHops | HopFile, Field(discriminator="kind")]


def _checked(questions: list[HopQuestion], subject: Subject, new_tokens: int) -> list[HopQuestion]:
    for question in questions:
        span_positions(subject, question.text, question.entity)
        for text in (question.text, question.first, question.second, *question.shortcuts):
            check_length(subject, subject.encode(text), text, new_tokens)
    return questions


def hops_told_apart(questions: Sequence[HopQuestion], subject: Subject) -> ToldApart:
    """Leaves out questions whose answer or bridge shares its first token with another of the group.

    Raises:
        UserError: no question is left.
    """
    groups = [question.group for question in questions]
    notes: list[str] = []
    kept = set(range(len(questions)))
    for part in ("answer", "bridge"):
        words = [[subject.continuation(q.text, word) for word in getattr(q, part)] for q in questions]
        apart = told_apart(words, groups, f"questions (by their {part}s)")
        kept &= set(apart.kept)
        notes += apart.notes
    if not kept:
        raise UserError(" ".join(notes).rstrip("."), "questions", "give questions with other answers")
    return ToldApart(tuple(sorted(kept)), tuple(notes))


def others(questions: Sequence[HopQuestion], items: Sequence[int], seed: int) -> list[int]:
    """Draws, for each item, a question of its group with another bridge and another answer.

    Raises:
        UserError: a group has none.
    """
    random, found = Random(seed), []
    for item in items:
        own = questions[item]
        fitting = [
            place
            for place, other in enumerate(questions)
            if other.group == own.group and other.bridge != own.bridge and other.answer != own.answer
        ]
        if not fitting:
            raise UserError(
                f"no other question of its kind has another bridge and answer: {own.text!r}",
                f"group {own.group!r}",
                "give more questions of each group",
            )
        found.append(random.choice(fitting))
    return found


def _of_world(source: WorldHops) -> list[HopQuestion]:
    world = facts()
    parts: dict[HopSplit, tuple[TwoHop, ...]] = {
        "trained": world.two_hop_train,
        "held_out": world.two_hop_held_out,
        "unseen_entities": world.two_hop_unseen,
    }
    end = f" {source.filler} is" if source.filler else " is"
    found = []
    for part in source.parts:
        for second, first, entity, bridge, answer in parts[part]:
            found.append(
                HopQuestion(
                    text=f"the {second} of the {first} of {entity}{end}",
                    entity=entity,
                    bridge=(bridge,),
                    answer=(answer,),
                    first=f"the {first} of {entity}{end}",
                    second=f"the {second} of {bridge}{end}",
                    group=f"{second} of {first}",
                    relation=f"{second} of the {first}",
                    shortcuts=(f"the {second} of {entity}{end}",),
                )
            )
    return found


def _read(path: Path) -> list[HopQuestion]:
    found = []
    fix = 'write "question", "entity", "bridge", "answer", "first" and "second"'
    for row, place in json_lines(path, fix):
        try:
            found.append(
                HopQuestion(
                    text=str(row["question"]),
                    entity=str(row["entity"]),
                    bridge=_spellings(row["bridge"]),
                    answer=_spellings(row["answer"]),
                    first=str(row["first"]),
                    second=str(row["second"]),
                    group=str(row.get("group", "")),
                    relation=str(row.get("relation", "")),
                    shortcuts=tuple(map(str, row.get("shortcuts", []))),
                )
            )
        except (TypeError, KeyError):
            raise UserError("the line is no two-hop question", place, fix) from None
    if not found:
        raise UserError("there is no question", str(path), "write one a line")
    return found


def _spellings(words: object) -> tuple[str, ...]:
    if isinstance(words, str):
        return (words,)
    if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
        return tuple(words)
    raise TypeError(words)


def ask_hops(subject: Subject, questions: Sequence[HopQuestion], new_tokens: int = 0) -> pd.DataFrame:
    """Asks every question: a row for each, with whether it, its hops and one of its shortcuts are right.

    A question has failed if it is wrong although both hops are right and no shortcut gives its answer.
    """

    def asked(texts: Sequence[str], words: Sequence[Sequence[str]]) -> Bool[np.ndarray, " text"]:
        prompts = [prompt_at(subject, text) for text in texts]
        return Answers.of(subject, words, new_tokens).right(subject, prompts)

    right = asked([q.text for q in questions], [q.answer for q in questions])
    first = asked([q.first for q in questions], [q.bridge for q in questions])
    second = asked([q.second for q in questions], [q.answer for q in questions])
    shortcut = np.zeros(len(questions), dtype=bool)
    shorter = [(place, text) for place, q in enumerate(questions) for text in q.shortcuts]
    if shorter:
        places, texts = zip(*shorter, strict=True)
        found = asked(texts, [questions[place].answer for place in places])
        np.logical_or.at(shortcut, list(places), found)
    known = first & second
    return pd.DataFrame(
        {
            "question": [q.text for q in questions],
            "group": [q.group for q in questions],
            "right": right,
            "first_hop": first,
            "second_hop": second,
            "known": known,
            "shortcut": shortcut,
            "failed": known & ~right & ~shortcut,
        }
    )
