"""The page of `train_saes`: how faithful each dictionary is, and how its training went."""

from collections.abc import Sequence

from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import interval, measured, number
from interp.render.figure import Draw, Figure
from interp.render.page import Section
from interp.statistics.estimate import Estimate
from interp.track.step import read_points

from ..common.dictionaries.curves import training_curve
from ..common.dictionaries.page import DictionariesPage
from .config import Config

THIRD = 360  # pixels: the width of one of three figures side by side
CURVES = ("explained_variance", "l0", "dead_latents", "cross_entropy_recovered")
MOST_CURVES = 8  # the largest number of dictionaries whose training curves are shown


class TrainingPage(DictionariesPage[Config]):
    """Shows the cross-entropy recovered, and the training curves."""

    def question(self) -> str:
        return f"How faithful are dictionaries of {self.subject.name}?"

    def opening(self) -> Sequence[str]:
        ranked = sorted(self.frame.to_dict("records"), key=lambda row: -row["cross_entropy_recovered"])
        best, worst = ranked[0], ranked[-1]
        found = Estimate.of(best, "cross_entropy_recovered")
        return [
            f"{self.subject.name} read the corpus once to train {len(self.frame)} dictionaries.",
            "The reconstruction of each replaced its activation in the model, on text that none was trained "
            "on.",
            f"{best['dictionary']} keeps most of the model's predictions, {measured(found)} "
            f"({interval(found)}) of the cross-entropy, with {number(best['l0'])} latents a token"
            + (f"; {worst['dictionary']} keeps least." if len(self.frame) > 1 else "."),
        ]

    def headline(self) -> Figure:
        return Figure(
            "cross_entropy_recovered", "Cross-entropy recovered", self.measured_on, self._recovered()
        )

    def sections(self) -> Sequence[Section]:
        return [self.all_figures(), *self._curves()]

    def _recovered(self) -> Draw:
        rows = [
            EstimateRow(
                row["dictionary"],
                [Entry("b", Estimate.of(row, "cross_entropy_recovered"), f"L0 {number(row['l0'])}")],
            )
            for row in self.frame.to_dict("records")
        ]
        return estimate_chart(rows, x_name="share of the cross-entropy", null=None)

    def _curves(self) -> list[Section]:
        points = read_points(self.run.folder / "steps" / "train" / "history.jsonl")
        sections = []
        for plan in self.config.plans()[:MOST_CURVES]:
            figures = []
            for name in CURVES:
                key = f"sae/{plan.name}/{name}"
                curve = [(p.at, float(p.values[key] or 0)) for p in points if key in p.values]
                if curve:
                    figures.append(training_curve(key, curve, "batches in training", THIRD))
            title = f"Training {plan.name}: {plan.training.architecture.kind} at {plan.site}"
            sections.append(Section(title, (), figures))
        return sections
