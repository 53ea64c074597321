"""The page of `task_vector`, filled from what its steps wrote."""

from collections.abc import Sequence

from experiments.common.page import framed
from experiments.common.tasks import TaskTables
from experiments.common.vectors.figures import overflow_note
from experiments.task_vector.config import Config
from interp.render.digits import interval, measured
from interp.render.figure import Figure
from interp.render.page import Cell, Column, Page, Section, Table
from interp.subject import Subject
from interp.track.run import Run

HALF = 540  # pixels of a figure that stands beside another
WORDS = (
    ("Task vector", "The mean residual stream at the last token of prompts that show a task, behind a "
     "query that the vector is never used on."),
    ("Replaced", "The vector takes the place of the last token's activation at one layer."),
    ("Added", "The vector, less the mean of prompts without examples, is added to it."),
    ("Wrong task", "The same with the vector of the next task of the list."),
    ("Conflict", "Examples show one task, and the vector of another is put in: which one is answered?"),
    ("Prompted", "The same queries behind examples."),
)  # fmt: skip
LIMITS = (
    "Layers were chosen on other queries of the same tasks; vectors come from a third part.",
    "Queries of a task are alike; intervals over tasks say more than those over queries.",
    "Conflicts are only of tasks that share queries, on those that neither vector was made of or chosen on.",
)


class TaskPage:
    """The tables of a run, and the page made from them."""

    def __init__(self, run: Run, subject: Subject, config: Config, tasks: Sequence[str]) -> None:
        self.run, self.subject, self.config, self.tasks = run, subject, config, tasks
        self.tables = TaskTables(run, config.seed)
        self.conflicts = run.table("conflict")
        self.measured_on = (
            f"Means over {len(tasks)} tasks of held-out queries; {config.draws} draws of random "
            f"vectors; seed {config.seed}; whiskers: 95% intervals over tasks"
        )

    def page(self) -> Page:
        """The whole page."""
        names = ("replaced", "added", "replaced, random")
        caption = (
            "Means over tasks, on the queries that layers are chosen on; bands: 95% intervals over tasks"
        )
        layers = Figure("layers", "By layer", caption, self.tables.by_layer(names))
        return framed(
            self.run,
            self.subject,
            f"Do examples leave their task behind at one token of {self.subject.name}?",
            [
                f"For {len(self.tasks)} tasks the activation at the end of {self.config.shots} examples "
                "and a dummy query was averaged, layer by layer.",
                "It was put in the place of the last token's activation of prompts without examples, "
                "or added to it, beside random vectors and another task's.",
                self._verdict(),
            ],
            Figure(
                "conditions", "Right answers to held-out queries", self.measured_on, self.tables.conditions()
            ),
            [
                Section("Where it works", (), [layers]),
                Section("Task by task", (), (), [self.tables.table()]),
                self._conflict(),
            ],
            WORDS,
            (*LIMITS, *overflow_note(self.tables.profile)),
        )

    def _conflict(self) -> Section:
        columns = [
            Column("examples of"), Column("vector of"), Column("vector"),
            Column("answers as shown", places=2),
            Column("answers as put in", places=2), Column("prompts", places=0),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [row["shown"], row["put_in"], row["state"], row["as_shown"], row["as_put_in"], row["questions"]]
            for row in self.conflicts.to_dict("records")
        ]
        text = "Before and after the vector is put in, on queries that fit both tasks."
        table = Table("conflict", "Held-out queries that fit both tasks", columns, rows)
        return Section("When examples and vector disagree", [text], (), [table])

    def _verdict(self) -> str:
        best = max(("replaced", "added"), key=lambda name: self.tables.mean(name).point or 0)
        found = self.tables.mean(best)
        spread = f" ({interval(found)})" if interval(found) else ""
        said = (
            f"{best.capitalize()}, it makes {measured(found)}{spread} of the answers right (unchanged "
            f"{measured(self.tables.mean('unchanged'))}, random "
            f"{measured(self.tables.mean(f'{best}, random'))}, wrong task "
            f"{measured(self.tables.mean(f'{best}, wrong task'))}, with examples "
            f"{measured(self.tables.mean('prompted'))})"
        )
        after = self.conflicts[self.conflicts["state"] == "after"]
        if after.empty:
            return f"{said}."
        return (
            f"{said}; against examples of another task {after['as_put_in'].mean():.2f} of the answers "
            f"follow the vector and {after['as_shown'].mean():.2f} the examples."
        )
