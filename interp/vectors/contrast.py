"""A behaviour to steer: pairs to make a vector of, and questions to choose it and to report on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from interp.corpus.questions import Question
from interp.errors import UserError
from interp.lines import json_lines
from interp.statistics.splits import content_of, split_three
from interp.subject.subject import Subject
from interp.vectors.contrastive import Pair
from interp.vectors.tasks import Task

KEYS = (
    ("prompt", "positive", "negative"),
    ("question", "answer_matching_behavior", "answer_not_matching_behavior"),
)
"""Keys of a line, here and in Anthropic's model-written evaluations."""
TASK_PAIRS, TASK_SHOTS = 64, 4


@dataclass(frozen=True)
class Contrast:
    """One behaviour. No question of one part is asked in another.

    `pairs` are texts that show it and texts that do not. In `choose` and `report`, `answers` show the
    behaviour and `foils` do not; `prompted` are those of `report` with the behaviour asked for in words or
    shown by examples (empty where there is no such prompt), in the same order.
    """

    name: str
    pairs: tuple[Pair, ...]
    choose: tuple[Question, ...]
    report: tuple[Question, ...]
    prompted: tuple[Question, ...] = ()


def read_contrast(path: Path, subject: Subject, seed: int = 0) -> Contrast:
    """Reads a behaviour from a JSONL file of prompts, each with a completion that shows it and one without.

    Keys `prompt`, `positive`, `negative`, or those of Anthropic's model-written evaluations. Four tenths of
    the lines, drawn by the seed, become pairs, two tenths are to choose on, four tenths to report on: a
    question asks which of the two completions, each as a whole, is likelier after the prompt. A pair is the
    prompt with either completion; or, where every line has them, the texts `with` (which asks for the
    behaviour or shows it) and `without`, and vectors are then compared with `with` as a prompt. Lines whose
    prompts differ in case, punctuation and spaces alone, or that have the same `group`, are in one part.

    Raises:
        UserError: a line cannot be used (says which), or there are fewer than five.
    """
    rows = [_row(values, place, subject, path.stem) for values, place in json_lines(path, _FIX)]
    if len(rows) < 5:
        raise UserError(f"{len(rows)} pairs do not fill three parts", str(path), "give at least five")
    contents = [row.content for row in rows]
    made, chosen, report = split_three(rows, Random(f"{path.stem} {seed}"), contents)
    if not (made and chosen and report):
        raise UserError(
            f"{len(set(contents))} different prompts do not fill three parts",
            str(path),
            "give at least five",
        )
    prompted = [row.prompted for row in report if row.prompted is not None]
    return Contrast(
        path.stem,
        tuple(row.pair for row in made),
        tuple(row.question for row in chosen),
        tuple(row.question for row in report),
        tuple(prompted) if len(prompted) == len(report) else (),
    )


def task_contrast(task: Task, subject: Subject, seed: int = 0) -> Contrast:
    """Makes a task by example a behaviour: done where no example is shown.

    Each of `TASK_PAIRS` pairs is a query after `TASK_SHOTS` examples, and the same alone.

    Raises:
        UserError: the task has too few examples.
    """
    drawn = Random(f"{task.name} {seed}").choices(task.extract, k=TASK_PAIRS)
    shown, plain = (task.questions(subject, drawn, shots, seed=seed) for shots in (TASK_SHOTS, 0))
    return Contrast(
        f"task/{task.name}",
        tuple(Pair(with_shots.prompt, alone.prompt) for with_shots, alone in zip(shown, plain, strict=True)),
        tuple(task.questions(subject, task.choose)),
        tuple(task.questions(subject, task.report)),
        tuple(task.questions(subject, task.report, TASK_SHOTS, seed=seed)),
    )


class _Row(NamedTuple):
    content: str
    pair: Pair
    question: Question
    prompted: Question | None


def _row(known: dict[str, Any], place: str, subject: Subject, group: str) -> _Row:
    names = next((keys for keys in KEYS if all(isinstance(known.get(key), str) for key in keys)), None)
    if names is None:
        raise UserError("a prompt or a completion is missing", place, _FIX)
    prompt, *completions = (known[name] for name in names)
    shown, other = (tuple(subject.encode(prompt + completion)) for completion in completions)
    length = len(_shared(_shared(shown, other), subject.encode(prompt)))
    answer, foil = shown[length:], other[length:]
    if len(_shared(answer, foil)) in (len(answer), len(foil)):
        raise UserError(
            "one completion is the beginning of the other", place, "give completions that part somewhere"
        )
    question = Question(shown[:length], (answer,), (foil,), group, choice=True)
    content = str(known["group"]) if "group" in known else content_of(prompt)
    texts = [known[name] for name in ("with", "without") if isinstance(known.get(name), str)]
    if not texts:
        return _Row(content, Pair(shown, other), question, None)
    if len(texts) == 1:
        raise UserError("one of `with` and `without` is missing", place, "give both texts, or neither")
    asked, plain = (tuple(subject.encode(text)) for text in texts)
    return _Row(content, Pair(asked, plain), question, replace(question, prompt=asked))


_FIX = 'write {"prompt": ..., "positive": ..., "negative": ...}'


def _shared(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """The longest common prefix of two texts, in tokens."""
    pairs = zip(first, second, strict=False)
    return tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
