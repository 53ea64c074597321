"""The page of `task_vector`."""

from collections.abc import Sequence

from interp.render.digits import measured, with_interval
from interp.render.figure import Figure
from interp.render.page import Column, Section, Table
from interp.subject import Subject
from interp.track.run import Run

from ..common.tasks import TasksPage
from .config import Config


class TaskPage(TasksPage[Config]):
    """Shows vectors replaced or added, beside random ones and another task's."""

    words = (
        ("Task vector", "The mean residual stream at the last token of prompts that show a task, after a "
         "query that the vector is never used on."),
        ("Replaced", "The vector replaces the last token's activation at one layer."),
        ("Added", "The vector, minus the mean of prompts without examples, is added to it."),
        ("Wrong task", "The same with the vector of the next task of the list."),
        ("Conflict", "Examples show one task, the vector of another is patched in: which one is answered?"),
        ("Prompted", "The same queries after examples."),
    )  # fmt: skip
    limits = (
        "Layers were chosen on other queries of the same tasks; vectors come from a third part.",
        "Queries of a task are alike; intervals over tasks are more informative than those over queries.",
        "Conflicts are only of tasks that share queries, on those that neither vector was made of or chosen "
        "on.",
    )

    def __init__(self, run: Run, config: Config, subject: Subject, tasks: int) -> None:
        super().__init__(run, config, subject)
        self.tasks, self.conflicts = tasks, run.table("conflict")

    def question(self) -> str:
        """What was asked."""
        return f"Is the task of examples encoded at one token of {self.model}?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        return (
            f"For {self.tasks} tasks the activation at the end of {self.config.shots} examples "
            "and a dummy query was averaged, layer by layer.",
            "It replaced the last token's activation in prompts without examples, "
            "or was added to it, beside random vectors and another task's.",
            self._verdict(),
        )

    def headline(self) -> Figure:
        """Every condition."""
        return self.conditions(
            f"Means over {self.tasks} tasks of held-out queries; {self.config.draws} draws of random "
            f"vectors; seed {self.config.seed}; whiskers: 95% intervals over tasks"
        )

    def sections(self) -> Sequence[Section]:
        """Layers, tasks, conflicts."""
        layers = self.by_layer("layers", "By layer", ("replaced", "added", "replaced, random"))
        columns: list[Column | str] = [
            Column("examples of", of="shown"), Column("vector of", of="put_in"), Column("vector", of="state"),
            Column("answers as shown", places=2, of="as_shown"),
            Column("answers as put in", places=2, of="as_put_in"),
            Column("prompts", places=0, of="questions"),
        ]  # fmt: skip
        text = "Before and after the vector is put in, on queries that fit both tasks."
        table = Table.of(self.conflicts, columns, "conflict", "Held-out queries that fit both tasks")
        return (
            Section("Where it works", figures=[layers]),
            Section("Task by task", tables=[self.every_condition()]),
            Section("When examples and vector disagree", [text], tables=[table]),
        )

    def _verdict(self) -> str:
        best = max(("replaced", "added"), key=lambda name: self.share(name).point or 0)
        said = (
            f"{best.capitalize()}, it makes {with_interval(self.share(best))} of the answers right "
            f"(unchanged {measured(self.share('unchanged'))}, random "
            f"{measured(self.share(f'{best}, random'))}, wrong task "
            f"{measured(self.share(f'{best}, wrong task'))}, with examples "
            f"{measured(self.share('prompted'))})"
        )
        after = self.conflicts[self.conflicts["state"] == "after"]
        if after.empty:
            return f"{said}."
        return (
            f"{said}; against examples of another task {after['as_put_in'].mean():.2f} of the answers "
            f"follow the vector and {after['as_shown'].mean():.2f} the examples."
        )
