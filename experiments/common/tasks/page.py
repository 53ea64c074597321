"""What the pages of the experiments on tasks by example share: results, controls, profiles."""

from collections.abc import Mapping, Sequence

import pandas as pd

from experiments.common.tasks.job import ALL_TASKS
from experiments.common.vectors.figures import Draw, best_by, profile, shares
from interp.render.data import Estimate, Kind
from interp.render.page import Cell, Column, Table
from interp.track.run import Run

KINDS: Mapping[str, Kind] = {
    "unchanged": "latent", "prompted": "neuron", "shuffled": "latent", "wrong task's vector": "random",
}  # fmt: skip
RANDOM = ", random"
NAMES: Mapping[Kind, str] = {
    "direction": "vector or heads", "random": "random, wrong", "neuron": "prompted", "latent": "unchanged",
}  # fmt: skip


class TaskTables:
    """The tables of a run on tasks, and what is drawn of them."""

    def __init__(self, run: Run, seed: int) -> None:
        self.results, self.profile = (run.table(name) for name in ("results", "profile"))
        self.seed = seed

    def mean(self, condition: str) -> Estimate:
        """A condition's share over tasks, with its interval over tasks."""
        rows = self.results[(self.results["condition"] == condition) & (self.results["task"] == ALL_TASKS)]
        return Estimate() if rows.empty else Estimate.of(rows.iloc[0].to_dict(), "right")

    def conditions(self, standalone: bool = False) -> Draw:
        """Every condition's mean over tasks, a method beside its random control."""
        names = list(dict.fromkeys(self.results["condition"]))
        rows: list[tuple[str, Sequence[tuple[Kind, Estimate]]]] = []
        for name in (name for name in names if not name.endswith(RANDOM)):
            entries: list[tuple[Kind, Estimate]] = [(KINDS.get(name, "direction"), self.mean(name))]
            if name + RANDOM in names:
                entries.append(("random", self.mean(name + RANDOM)))
            rows.append((name, entries))
        return shares(rows, names=NAMES, standalone=standalone)

    def by_layer(
        self, methods: Sequence[str], asked: Mapping[str, str] | None = None, standalone: bool = False
    ) -> Draw:
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
        kinds: dict[str, Kind] = {"random": "random"}
        return profile(
            curves, "layer", x_name="layer (resid_post, 0-based)", kinds=kinds, standalone=standalone
        )

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
