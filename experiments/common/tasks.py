"""What the experiments on tasks by example share: conditions side by side, and the tables of their pages."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from experiments.common.vectors.figures import best_by, profile, shares
from interp.causal.side_effects import Neutral
from interp.render.figure import Draw
from interp.render.page import Cell, Column, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run
from interp.track.step import Step
from interp.vectors.conditions import ALL_TASKS, Condition, compared, task_results

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
    neutral: Neutral,
    conditions: Sequence[tuple[str, Iterable[Condition]]],
    unit: str,
    seed: int,
) -> None:
    """Tables `outcomes`, `costs` and `results` of every task's conditions; a metric for each condition."""
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


class TaskTables:
    """The tables of a run on tasks, and what is drawn of them."""

    def __init__(self, run: Run, seed: int) -> None:
        self.results, self.profile = (run.table(name) for name in ("results", "profile"))
        self.seed = seed

    def mean(self, condition: str) -> Estimate:
        """A condition's share over tasks, with its interval over tasks."""
        rows = self.results[(self.results["condition"] == condition) & (self.results["task"] == ALL_TASKS)]
        return Estimate() if rows.empty else Estimate.of(rows.iloc[0].to_dict(), "right")

    def conditions(self) -> Draw:
        """Every condition's mean over tasks, a method beside its random control."""
        names = list(dict.fromkeys(self.results["condition"]))
        rows: list[tuple[str, Sequence[tuple[Role, Estimate]]]] = []
        for name in (name for name in names if not name.endswith(RANDOM)):
            entries: list[tuple[Role, Estimate]] = [(ROLES.get(name, "c"), self.mean(name))]
            if name + RANDOM in names:
                entries.append(("null", self.mean(name + RANDOM)))
            rows.append((name, entries))
        return shares(rows, names=NAMES)

    def by_layer(self, methods: Sequence[str], asked: Mapping[str, str] | None = None) -> Draw:
        """The mean over tasks at each layer, for each method; `asked` narrows the table by its columns."""
        own = self.profile
        for column, value in (asked or {}).items():
            own = own[own[column] == value]
        curves = {
            "random" if method.endswith(RANDOM) else method: best_by(
                own[own["method"] == method], "layer", ["task"], self.seed
            )
            for method in methods
            if method in set(own["method"])
        }
        return profile(curves, "layer", x_name="layer (resid_post, 0-based)", roles={"random": "null"})

    def table(self) -> Table:
        """Every task and condition."""
        columns = [
            Column("task"), Column("condition"), Column("right"), Column("KL", "nats"),
            Column("extra cross-entropy", "nats"), Column("prompts", places=0),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [row["task"], row["condition"], Estimate.of(row, "right"),
             *(None if pd.isna(row[cost]) else row[cost] for cost in ("kl", "extra")), row["questions"]]
            for row in self.results.to_dict("records")
        ]  # fmt: skip
        return Table(
            "results", "Held-out queries; costs on the beginnings of neutral documents", columns, rows
        )
