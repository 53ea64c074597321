"""Tasks by example: question and answer pairs of one mapping, and prompts with or without examples."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from interp.causal.outcome import ask
from interp.corpus.first_token import told_apart
from interp.corpus.questions import Question
from interp.errors import UserError
from interp.fields import FilePath, NonEmpty, Section, Text, Word
from interp.json_text import read_json
from interp.shape import Shape
from interp.statistics.splits import content_of, split_three
from interp.subject.continuation import Continuation
from interp.subject.folder import SubjectInfo
from interp.subject.subject import Subject
from interp.vectors.world_tasks import world_task

Example = tuple[str, str]
SeveralTokens = Literal["whole", "first", "drop"]
LEAST = 10  # fewest examples of a task


@dataclass(frozen=True)
class _Row:
    """An example in a file; its values may be numbers."""

    input: str | int | float
    output: str | int | float


_SLOT = re.compile(r"\{(question|answer)\}")
_ROWS = Shape[list[_Row]](list[_Row])


def _filled(layout: str, **values: str) -> str:
    """Fills the slots of a layout; other braces are text."""
    return _SLOT.sub(lambda slot: values[slot[1]], layout)


class TaskFormat(Section):
    """How examples are laid out as text."""

    pair: Text = "{question} : {answer}"
    """One example; what stands before {answer}, less spaces at its end, is what a query ends with."""
    separator: Text = " , "
    """Stands between two examples."""

    @property
    def spaced(self) -> bool:
        """Whether the layout puts a space before answers."""
        return self.pair.partition("{answer}")[0].endswith(" ")

    def query(self, question: str) -> str:
        """Lays out an example up to its answer, without trailing spaces."""
        return _filled(self.pair.partition("{answer}")[0], question=question).rstrip(" ")

    def prompt(self, shots: Sequence[Example], question: str) -> str:
        """Lays out examples, and a query after them."""
        shown = [_filled(self.pair, question=asked, answer=answer) for asked, answer in shots]
        return self.separator.join([*shown, self.query(question)])


@dataclass(frozen=True)
class Task:
    """Examples of one mapping in three parts that share no question.

    Vectors are made of `extract`; layers and strengths are chosen on `choose`; results are of `report`. With
    `first_tokens` an answer of several tokens is judged by the first. `notes` say which examples were left
    out.
    """

    name: str
    format: TaskFormat
    extract: tuple[Example, ...]
    choose: tuple[Example, ...]
    report: tuple[Example, ...]
    first_tokens: bool = False
    notes: tuple[str, ...] = ()

    def drawn(self, count: int, seed: int) -> list[Example]:
        """Draws examples of `extract` with replacement."""
        return Random(f"drawn {self.name} {seed}").choices(self.extract, k=count)

    def questions(
        self,
        subject: Subject,
        asked: Sequence[Example],
        shots: int = 0,
        *,
        shuffled: bool = False,
        seed: int = 0,
    ) -> list[Question]:
        """Makes one question of each asked example, after `shots` examples of `extract`.

        `shuffled` permutes the answers of the examples, so that they show the format and not the mapping. No
        prompt shows the example that it asks for.

        Raises:
            UserError: there are not enough examples.
        """
        random = Random(f"{self.name} {shots} {shuffled} {seed}")
        found = []
        for question, answer in asked:
            others = [example for example in self.extract if example[0] != question]
            if len(others) < shots:
                raise UserError(
                    f"{len(others)} examples are too few for prompts of {shots}",
                    f"task {self.name}",
                    "show fewer, or give more examples",
                )
            shown = random.sample(others, shots)
            if shuffled:
                shown = _shuffled(shown, random)
            text = self.format.prompt(shown, question)
            found.append(self.question(subject, text, answer))
        return found

    def question(self, subject: Subject, text: str, answer: str) -> Question:
        """Makes a question of a prompt and its right answer."""
        found = self.answer(subject, text, answer)
        ids = found.ids[:1] if self.first_tokens else found.ids
        return Question(tuple(subject.encode(text)), (ids,), (), self.name, (str(found),))

    def answer(self, subject: Subject, text: str, answer: str) -> Continuation:
        """Tokenises an answer after its prompt, with a space before it if the format has one."""
        return subject.continuation(text, answer, f"task {self.name}", self.format.spaced)


class WorldTasks(Section):
    """Tasks of the bundled world, laid out as in its documents."""

    kind: Literal["world"] = "world"
    tasks: NonEmpty[Word] = ("antonym", "plural", "capital", "language", "zorvic")
    """Names as in `interp.vectors.world_tasks.world_task`: antonym, plural, past, capital, language, ..."""

    def check(self, model: SubjectInfo, field: str = "tasks") -> None:
        """Raises UserError if a task is unknown, or the model has another vocabulary."""
        for name in self.tasks:
            world_task(name)
        if not model.speaks_world:
            raise UserError(
                f"the world's tasks are in the world's words, which {model.name} may not know",
                f"{field}.kind",
                f"use `{field}: {{kind: files, paths: [...]}}`",
            )

    def open(self, subject: Subject, seed: int = 0) -> list[Task]:
        """Makes the tasks, each with its examples drawn into three parts; a repeated name counts once.

        Raises:
            UserError: as `check`, or a task has fewer than ten examples.
        """
        self.check(subject.info)
        known = {name: world_task(name) for name in self.tasks}
        return [
            _dealt(
                Task(name, TaskFormat(pair=one.pair, separator=one.separator), (), (), ()),
                list(one.examples.items()),
                seed,
            )
            for name, one in known.items()
        ]


class TaskFiles(Section):
    """Your own tasks."""

    kind: Literal["files"] = "files"
    paths: NonEmpty[FilePath]
    """JSON files, each a list of {"input": ..., "output": ...}; the task is named after the file."""
    answers: SeveralTokens = "whole"
    """Answers of several tokens: judged by all of them (whole), by the first (first), or left out (drop).
    With first, those whose first token says nothing or is another answer's too are left out, and counted."""
    format: TaskFormat = TaskFormat(pair="Q: {question}\nA: {answer}", separator="\n\n")
    """The layout of prompts."""

    def check(self, model: SubjectInfo, field: str = "tasks") -> None:
        """Raises UserError if a file is not there, or the format lacks a slot."""
        for slot in ("{question}", "{answer}"):
            if slot not in self.format.pair:
                raise UserError(
                    f"the format has no {slot}", f"{field}.format.pair", 'such as "{question} : {answer}"'
                )
        for path in self.paths:
            if not path.is_file():
                raise UserError(f"no file {path}", f"{field}.paths", "give JSON files")

    def open(self, subject: Subject, seed: int = 0) -> list[Task]:
        """Reads the tasks, each with its examples drawn into three parts.

        Raises:
            UserError: a file cannot be used, or has fewer than ten examples.
        """
        tasks = []
        for path in self.paths:
            task = Task(path.stem, self.format, (), (), (), self.answers == "first")
            examples = _read(path)
            if self.answers != "whole":
                task, examples = _usable(task, subject, examples)
            tasks.append(_dealt(task, examples, seed))
        return tasks


TaskSource = Annotated[WorldTasks | TaskFiles, Field(discriminator="kind")]


def task_prompts(
    subject: Subject, task: Task, count: int, shots: int, *, only_right: bool = True, seed: int = 0
) -> list[list[int]]:
    """Makes prompts to read vectors from: `count` queries, each after `shots` examples.

    With `only_right`, returns those that the subject answers rightly (the filter of Todd et al. 2023).

    Raises:
        UserError: the subject gets fewer than two of them right.
    """
    prompts = task.questions(subject, task.drawn(count, seed), shots, seed=seed)
    if only_right:
        kept = [prompt for prompt, right in zip(prompts, ask(subject, prompts).right, strict=True) if right]
        if len(kept) < 2:
            raise UserError(
                f"{subject.name} gets {len(kept)} of {len(prompts)} prompts right",
                f"task {task.name}",
                "show more examples, leave the task out, or set only_right: false",
            )
        prompts = kept
    return [list(prompt.prompt) for prompt in prompts]


def _shuffled(shown: Sequence[Example], random: Random) -> list[Example]:
    """Permutes the answers so that none is at its own question (if there are two or more)."""
    answers = [answer for _, answer in shown]
    turned = random.randrange(1, len(answers)) if len(answers) > 1 else 0
    return [(shown[i][0], answers[(i + turned) % len(answers)]) for i in range(len(shown))]


def _usable(task: Task, subject: Subject, examples: Sequence[Example]) -> tuple[Task, list[Example]]:
    """Selects examples whose answers are one token, or identified by their first; notes how many."""
    asked = ((task.format.query(question), answer) for question, answer in examples)
    answers = [task.answer(subject, text, answer) for text, answer in asked]
    what = f"examples of {task.name}"
    if task.first_tokens:
        kept, notes = told_apart([[one] for one in answers], what=what)
    else:
        kept = tuple(place for place, one in enumerate(answers) if len(one.ids) == 1)
        left_out = len(answers) - len(kept)
        notes = (f"{left_out} of {len(answers)} {what} are left out: their answers are several tokens.",)
        notes = notes if left_out else ()
    return replace(task, notes=notes), [examples[place] for place in kept]


def _dealt(task: Task, examples: Sequence[Example], seed: int) -> Task:
    """Draws a task's examples into three parts."""
    if len(examples) < LEAST:
        raise UserError(
            " ".join((f"{len(examples)} examples can be used, too few for three parts.", *task.notes)).rstrip(
                "."
            ),
            f"task {task.name}",
            f"give {LEAST} or more that can be told by one token, or set answers: whole"
            if task.notes
            else f"give {LEAST} or more",
        )
    made, chosen, report = split_three(examples, Random(f"{task.name} {seed}"))
    return replace(task, extract=made, choose=chosen, report=report)


def _read(path: Path) -> list[Example]:
    fix = 'write [{"input": ..., "output": ...}, ...]'
    rows = _ROWS.of(read_json(path, fix, "list"), str(path), fix)
    examples = [(str(row.input), str(row.output)) for row in rows]
    return list({content_of(example[0]): example for example in examples}.values())
