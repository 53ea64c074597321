"""The page of `circuit_truth`, filled from what its steps wrote."""

from collections.abc import Sequence

import pandas as pd

from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import interval, measured
from interp.render.figure import Figure
from interp.render.page import Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.track.run import Run

from ..common.page import ExperimentPage
from .config import Config

RANDOM, TRUE = "random ranking", "the true circuit"
COLUMNS = (
    Column("method"),
    Column("average precision", of="average precision"),
    Column("found"),
    Column("faithfulness"),
)
MISSED = (Column("method"), Column("edge"), Column("score"))


class CircuitTruthPage(ExperimentPage[Config]):
    """Shows how many true edges each method ranks first, beside the faithfulness of what it ranks first."""

    words = (
        ("True edge",
         "One whose reader reads what the writer writes, which differs within a pair and reaches the answer: "
         "it follows from the program's text, and patching it alone moves the answer."),
        ("Average precision",
         "The mean, over the true edges, of the share of true edges among those ranked as high; 1 if all "
         "true edges come first."),
        ("First", "As many edges of the largest scores as there are true ones; found is the share of true "
         "edges among them, faithfulness that of the circuit which they make."),
        ("Told", "Edges that carry the same in both prompts of a pair are left out: no patch shows them."),
    )  # fmt: skip
    limits = (
        "Two programs of at most four layers, whose parts do one thing each: methods may rank otherwise in "
        "models that were trained.",
        "Truth is that of the difference of two logits; a divergence of distributions sees a little more.",
    )

    def __init__(self, run: Run, config: Config) -> None:
        super().__init__(run, config)
        self.summary = run.table("summary")

    def question(self) -> str:
        return "Which edges of a circuit that is known does each method find?"

    def opening(self) -> Sequence[str]:
        n = len(self.config.programs)
        return [
            f"The weights of {n} transformer{'s' if n > 1 else ''} were written down by a program, so every "
            "edge of their circuits is known.",
            f"Every method scored all edges on {self.config.sets} sets of {self.config.pairs} pairs; its "
            "circuits ran on other pairs.",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        return self._precision(self.config.programs[-1], self.config.sharpness[0], 620)

    def sections(self) -> Sequence[Section]:
        found = []
        for name in self.config.programs:
            for sharpness in self.config.sharpness:
                figure = self._precision(name, sharpness, 540)
                tables = [self._methods(name, sharpness), self._missed(name, sharpness)]
                title = f"{name}, attention sharp to {sharpness:g} nats"
                found.append(Section(title, (), [figure], tables))
        return found

    def _of(self, name: str, sharpness: float) -> pd.DataFrame:
        own = self.summary[(self.summary["program"] == name) & (self.summary["sharpness"] == sharpness)]
        return own.sort_values("average precision", ascending=False, kind="stable")

    def _precision(self, name: str, sharpness: float, width: int) -> Figure:
        own = self._of(name, sharpness)
        rows = [
            EstimateRow(
                str(row["method"]),
                [
                    Entry("null" if row["method"] == RANDOM else "a", Estimate.of(row, "average precision")),
                    Entry("b", Estimate.of(row, "faithfulness")),
                ],
            )
            for row in own[own["method"] != TRUE].to_dict("records")
        ]
        names: dict[Role, str] = {
            "a": "average precision",
            "b": "faithfulness of the first",
            "null": "average precision by chance",
        }
        chart = estimate_chart(rows, x_name="share", names=names, null=None)
        caption = f"Means over {self.config.sets} sets of pairs; whiskers: 95% bootstrap intervals over sets"
        return Figure(f"{name}-{sharpness:g}", f"{name}, sharpness {sharpness:g}", caption, chart, width)

    def _methods(self, name: str, sharpness: float) -> Table:
        caption = "Means over sets of pairs, with 95% bootstrap intervals over sets"
        return Table.of(self._of(name, sharpness), COLUMNS, f"methods {name} {sharpness:g}", caption)

    def _missed(self, name: str, sharpness: float) -> Table:
        edges = self.run.table(f"edges-{name}-{sharpness:g}")
        missed = []
        for method, own in edges.groupby("method", sort=False):
            first = own["score"].abs().sort_values(ascending=False, kind="stable").index[: own["true"].sum()]
            if method != RANDOM:
                missed.append(own[own["true"] & ~own.index.isin(first)])
        caption = "True edges that are not among the first, on one set of pairs"
        return Table.of(pd.concat(missed, ignore_index=True), MISSED, f"misses {name} {sharpness:g}", caption)

    def _verdict(self) -> str:
        name, sharpness = self.config.programs[-1], self.config.sharpness[0]
        own = self._of(name, sharpness)
        tried = own[~own["method"].isin((RANDOM, TRUE, "exact"))]
        best = tried.iloc[0].to_dict()
        precision, faithful = (Estimate.of(best, each) for each in ("average precision", "faithfulness"))
        chance = Estimate.of(own[own["method"] == RANDOM].iloc[0].to_dict(), "average precision")
        return (
            f"Of the estimates, {best['method']} ranks the true edges of {name} best: average precision "
            f"{measured(precision)} ({interval(precision)}; {measured(chance)} by chance); its first edges "
            f"keep {measured(faithful)} ({interval(faithful)}) of the behaviour."
        )
