"""Questions: prompts with their right answers, on which the effect of a change is measured."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Annotated, Any, Literal

from pydantic import Field

from interp.bundled.world.behaviours import DETERMINERS, Item, behaviours, determiner_items
from interp.errors import UserError
from interp.fields import Count, FilePath, Flag, NonEmpty, PathText, Section
from interp.lines import json_lines
from interp.subject.continuation import notes_on
from interp.subject.folder import SubjectInfo
from interp.subject.subject import Subject

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A prompt (token ids without a beginning-of-sequence token), its right answers and its wrong ones.

    A prompt that is a `Conversation` is complete: no such token is put before it. `answers` are one or more
    right continuations, each a sequence of tokens; `foils` are wrong ones and may be empty. With `choice` an
    answer is right if it is likelier than the foils (multiple choice), else if the subject would write it.
    `group` is what the question is about; `said` shows how its words were read.
    """

    prompt: Tokens
    answers: tuple[Tokens, ...]
    foils: tuple[Tokens, ...]
    group: str
    said: tuple[str, ...] = field(default=(), compare=False)
    choice: bool = False
    against: Tokens = ()

    def shown_in(self, text: Sequence[int]) -> bool:
        """Whether a text contains an answer, and no foil before it."""
        for start in range(len(text)):
            if begins_with(text[start:], self.answers):
                return True
            if begins_with(text[start:], self.foils):
                return False
        return False


def begins_with(text: Sequence[int], answers: Iterable[Tokens]) -> bool:
    """Whether a text begins with one of the answers."""
    return any(tuple(text[: len(answer)]) == answer for answer in answers)


def distinct(answers: Iterable[Tokens]) -> tuple[Tokens, ...]:
    """The answers without those that begin with another one, whose probability includes theirs."""
    known = tuple(dict.fromkeys(answers))
    return tuple(one for one in known if not begins_with(one, [other for other in known if other != one]))


class _Source(Section):
    most: Count = Field(200, ge=4)
    """The most questions of each group, drawn by the seed of the run."""

    def _drawn(self, questions: Sequence[Question], seed: int) -> list[Question]:
        """A uniform sample of at most `most` questions of each group, in the given order."""
        kept: set[int] = set()
        for group in dict.fromkeys(question.group for question in questions):
            members = [place for place, question in enumerate(questions) if question.group == group]
            kept.update(Random(f"{group} {seed}").sample(members, min(self.most, len(members))))
        return [question for place, question in enumerate(questions) if place in kept]


class WorldQuestions(_Source):
    """Behaviours that the bundled world model was trained to show."""

    kind: Literal["world"] = "world"
    behaviours: NonEmpty[PathText] = ("refusal/harmful",)
    """Names as in its model card, such as facts/plain; or determiner_noun/plural and .../singular."""

    def check(self, model: SubjectInfo, field: str = "questions") -> None:
        """Raises UserError if the world has no such behaviour, or another model is to be asked."""
        known = _known()
        for name in self.behaviours:
            if name not in known:
                raise UserError(
                    f"the world has no behaviour {name!r}", f"{field}.behaviours", f"use {', '.join(known)}"
                )
        if not model.speaks_world:
            raise UserError(
                f"the world's questions are token ids of the world model, not of {model.name}",
                f"{field}.kind",
                f"use `{field}: {{kind: file, path: ...}}` for other subjects",
            )

    def open(self, subject: Subject, seed: int = 0) -> list[Question]:
        """Makes the questions.

        Raises:
            UserError: as `check`.
        """
        self.check(subject.info)
        return self._drawn([q for name in self.behaviours for q in _of_world(name, self.most, seed)], seed)


class QuestionFile(_Source):
    """Your own prompts."""

    kind: Literal["file"] = "file"
    path: FilePath
    """A .jsonl file; each line has "prompt" and "answer" (a word or a list), perhaps "foil" and "group".

    Words are the tokens that continue their prompt, one or several; a number in a list is a token id. With
    choice, "against" may be the opposite prompt (the same two things in the other order): an answer is then
    right if it is preferred to the foil more after the prompt than after that one, which takes out a liking
    for one of the words."""
    choice: Flag = False
    """Whether an answer is right if it is likelier than the foils (multiple choice), rather than if the
    subject would write it."""

    def check(self, model: SubjectInfo, field: str = "questions") -> None:
        """Raises UserError if the file does not exist."""
        if not self.path.is_file():
            raise UserError(f"no file {self.path}", f"{field}.path", "give a .jsonl file")

    def open(self, subject: Subject, seed: int = 0) -> list[Question]:
        """Reads the questions.

        Raises:
            UserError: a line of the file cannot be used (says which, and why).
        """
        found = []
        fix = 'write {"prompt": ..., "answer": ...}'
        for values, place in json_lines(self.path, fix):
            if not isinstance(values.get("prompt"), str) or "answer" not in values:
                raise UserError("a prompt or an answer is missing", place, fix)
            text = values["prompt"]
            prompt = subject.to_tokens(text, prepend_bos=False)[0].tolist()
            answers, foils = (
                [subject.continuation(text, word, place) for word in _listed(values.get(name, []), place)]
                for name in ("answer", "foil")
            )
            own, others = (distinct([one.ids for one in words]) for words in (answers, foils))
            if not own:
                raise UserError("there is no answer", place, fix)
            for one in own:
                if begins_with(one, others) or any(begins_with(foil, [one]) for foil in others):
                    raise UserError(
                        f"answer and foil begin with the same tokens, {subject.decode(one)!r}",
                        place,
                        "give words of which none is the beginning of the other",
                    )
            if self.choice and not others:
                raise UserError(
                    "there is no foil to choose from", place, 'write {"foil": ...}, or choice: false'
                )
            opposite = values.get("against", "")
            if not isinstance(opposite, str) or (opposite and not self.choice):
                raise UserError('"against" is the opposite prompt of a choice', place, "set choice: true")
            said = tuple(map(str, (*answers, *foils)))
            group, against = str(values.get("group", "")), tuple(subject.encode(opposite))
            found.append(Question(tuple(prompt), own, others, group, said, self.choice, against))
        if not found:
            raise UserError("there is no question", str(self.path), "write one a line")
        return self._drawn(found, seed)


QuestionSource = Annotated[WorldQuestions | QuestionFile, Field(discriminator="kind")]


@cache
def _known() -> tuple[str, ...]:
    """Names of all questions of the world."""
    return (*(one.name for one in behaviours()), *(f"determiner_noun/{number}" for number in DETERMINERS))


def _of_world(name: str, most: int, seed: int) -> list[Question]:
    family, _, number = name.partition("/")
    items: Sequence[Item]
    if family == "determiner_noun":
        items = determiner_items(number, most, seed)
    else:
        items = next(b.items for b in behaviours(seed) if b.name == name)
    return [
        Question(item.prompt, ((item.answer,),), () if item.foil is None else ((item.foil,),), name)
        for item in items
    ]


def _listed(words: Any, place: str) -> list[str | int]:
    listed = [words] if isinstance(words, str) else words
    if not isinstance(listed, list) or not all(type(word) in (str, int) for word in listed):
        raise UserError(f"{words!r} is neither a word nor a list of words", place, "give words in quotes")
    return listed


def counted_as(questions: Sequence[Question], words: Sequence[str | int], subject: Subject) -> list[Question]:
    """Replaces the questions' answers by some words, each as the tokens that continue the prompt; no foils.

    Raises:
        UserError: a word is unknown.
    """
    found = []
    for question in questions:
        taken = [subject.continuation(question.prompt, word, "answers") for word in words]
        own = distinct([one.ids for one in taken])
        found.append(replace(question, answers=own, foils=(), said=tuple(map(str, taken)), choice=False))
    return found


def notes_on_questions(questions: Iterable[Question]) -> list[str]:
    """Sentences for the reader of a run on how the questions' words were read."""
    return notes_on(word for question in questions for word in question.said)


def question_pairs(questions: Sequence[Question]) -> list[tuple[Question, Question]]:
    """Pairs each question with the next of its group and length that has another answer, both of one token.

    Activation patching needs such pairs; a question without a partner is left out.
    """

    def partners(place: int) -> Iterator[Question]:
        own = questions[place]
        for other in (*questions[place + 1 :], *questions[:place]):
            alike = other.group == own.group and len(other.prompt) == len(own.prompt)
            alike &= len(other.answers[0]) == len(own.answers[0]) == 1
            if alike and other.answers[0] != own.answers[0]:
                yield other

    found = [(question, next(partners(place), None)) for place, question in enumerate(questions)]
    return [(question, other) for question, other in found if other is not None]
