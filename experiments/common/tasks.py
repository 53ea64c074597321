"""Shared by the experiments on in-context tasks: conditions compared, and the tables of their pages."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import pandas as pd

from interp.causal.side_effects import NeutralTexts
from interp.render.figure import Figure
from interp.render.page import Column, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run
from interp.track.step import Step
from interp.vectors.conditions import ALL_TASKS, Condition, compared, task_results
from interp.vectors.tasks import Task

from .page import AnyConfig, ExperimentPage, estimate_of
from .vectors.config import TasksConfig
from .vectors.figures import best_by, overflow_note, profile, shares
from .vectors.job import VectorJob

TasksConfigured = TypeVar("TasksConfigured", bound=TasksConfig)
ROLES: Mapping[str, Role] = {
    "unchanged": "b", "prompted": "a", "shuffled": "b", "wrong task's vector": "null",
}  # fmt: skip
RANDOM = ", random"
NAMES: Mapping[Role, str] = {
    "c": "vector or heads", "null": "random, wrong", "a": "prompted", "b": "unchanged",
}  # fmt: skip


def write_compared(
    step: Step,
    subject: Subject,
    neutral: NeutralTexts,
    conditions: Sequence[tuple[str, Iterable[Condition]]],
    unit: str,
    seed: int,
) -> None:
    """Writes tables `outcomes`, `costs` and `results` of all tasks' conditions, and a metric for each."""
    parts = []
    with step.progress.task("held-out queries", total=len(conditions), unit=unit) as advance:
        for task, own in conditions:
            parts.append(compared(subject, neutral, own, task))
            advance(1)
    outcomes, costs = (pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True))
    results = task_results(outcomes, costs, seed)
    for name, frame in (("outcomes", outcomes), ("costs", costs), ("results", results)):
        step.table(name, frame)
    for row in results[results["task"] == ALL_TASKS].to_dict("records"):
        name = row["condition"].replace(", ", "_").replace(" ", "_")
        step.metric(f"right/{name}", row["right"], headline=True)


class TasksJob(VectorJob[TasksConfigured]):
    """A job on several in-context tasks: each is tried beside the next one, whose vector is a control."""

    def __init__(self, config: TasksConfigured, run: Run) -> None:
        super().__init__(config, run)
        self.tasks = config.tasks.open(self.subject, config.seed)
        run.tell(*(note for task in self.tasks for note in task.notes))

    @abstractmethod
    def conditions(self, task: Task, other: Task) -> Iterator[Condition]:
        """Yields what is tried on a task's held-out queries; `other` is another task, a control."""

    def held_out(self, step: Step) -> None:
        """Tries all conditions on held-out queries."""
        others = [*self.tasks[1:], self.tasks[0]]
        conditions = [
            (task.name, self.conditions(task, other)) for task, other in zip(self.tasks, others, strict=True)
        ]
        write_compared(step, self.subject, self.neutral, conditions, "tasks", self.config.seed)


class TasksPage(ExperimentPage[AnyConfig]):
    """A page on in-context tasks, drawn from the tables `results` and `profile`."""

    def __init__(self, run: Run, config: AnyConfig, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.results, self.profile = (run.table(name) for name in ("results", "profile"))
        self.model = subject.name

    def caveats(self) -> Sequence[str]:
        """Returns the limits, and says whether logits overflowed."""
        return (*self.limits, *overflow_note(self.profile))

    def share(self, condition: str, task: str = ALL_TASKS) -> Estimate:
        """Returns a condition's share of right answers, as a mean over tasks or of one task."""
        return estimate_of(self.results, "right", condition=condition, task=task)

    def conditions(self, caption: str) -> Figure:
        """Draws every condition's mean over tasks, each method beside its random control."""
        names = list(dict.fromkeys(self.results["condition"]))
        rows: list[tuple[str, Sequence[tuple[Role, Estimate]]]] = []
        for name in (name for name in names if not name.endswith(RANDOM)):
            entries: list[tuple[Role, Estimate]] = [(ROLES.get(name, "c"), self.share(name))]
            if name + RANDOM in names:
                entries.append(("null", self.share(name + RANDOM)))
            rows.append((name, entries))
        return Figure("conditions", "Right answers to held-out queries", caption, shares(rows, names=NAMES))

    def by_layer(self, name: str, title: str, methods: Sequence[str], **asked: str) -> Figure:
        """Draws each method's mean over tasks by layer; `asked` selects rows by column values."""
        own = self.profile
        for column, value in asked.items():
            own = own[own[column] == value]
        curves = {
            "random" if method.endswith(RANDOM) else method: best_by(
                own[own["method"] == method], "layer", ["task"], self.config.seed
            )
            for method in methods
            if method in set(own["method"])
        }
        caption = "Means over tasks, on the queries used to choose layers; bands: 95% intervals over tasks"
        drawn = profile(curves, "layer", x_name="layer (resid_post, 0-based)", roles={"random": "null"})
        return Figure(name, title, caption, drawn)

    def every_condition(self) -> Table:
        """Tabulates every task and condition."""
        columns: list[Column | str] = [
            "task", "condition", "right", Column("KL", "nats", of="kl"),
            Column("extra cross-entropy", "nats", of="extra"), Column("prompts", places=0, of="questions"),
        ]  # fmt: skip
        caption = "Held-out queries; side effects on the beginnings of neutral documents"
        return Table.of(self.results, columns, "results", caption)
