"""The page of `interestingness`: how well interesting descriptions are told from others."""

from collections.abc import Mapping, Sequence

from interp.descriptions.interest import FOLDS, InterestClassifier
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import interval, measured
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.track.run import Run

from ..common.page import ExperimentPage
from .config import Config

NAMES: Mapping[Role, str] = {"b": "held-out descriptions", "null": "answers shuffled (null)"}


class InterestPage(ExperimentPage[Config]):
    """Shows the AUROC beside its null, and every other measure."""

    words = (
        (
            "AUROC",
            "The chance that an interesting description gets a larger value than another; 0.5 is guessing.",
        ),
        ("Balanced accuracy", "The mean of the recalls of both classes."),
    )
    limits = (
        "The classifier sees the words of a description, and nothing else of the feature.",
        "It learns the judgement of whoever wrote the labels.",
    )

    def __init__(self, run: Run, config: Config) -> None:
        super().__init__(run, config)
        self.report = InterestClassifier.load(run.folder / "steps" / "train" / "classifier").report
        self.values = {
            name: Estimate(*getattr(self.report, name))
            for name in ("auroc", "null_auroc", "balanced_accuracy", "accuracy")
        }

    def question(self) -> str:
        return "Can interesting descriptions be recognised?"

    def opening(self) -> Sequence[str]:
        auroc, report = self.values["auroc"], self.report
        return [
            f"{report.n} descriptions were labelled, {report.n_interesting / report.n:.0%} of them as "
            "interesting.",
            f"A logistic regression on their vectors ({report.embedder}) was trained on four fifths at a "
            "time and tested on the rest.",
            f"It reaches an AUROC of {measured(auroc)} ({interval(auroc)}) on descriptions that it was "
            f"not trained on, with shuffled answers {measured(self.values['null_auroc'])}.",
        ]

    def headline(self) -> Figure:
        measured_on = f"{self.report.n} labelled descriptions, {FOLDS} folds; whiskers: 95% intervals"
        return Figure("figures", "Held-out figures", measured_on, self._figure())

    def sections(self) -> Sequence[Section]:
        rows: list[list[Cell]] = [[name.replace("_", " "), value] for name, value in self.values.items()]
        columns = [Column("figure"), Column("value")]
        table = Table("held-out figures", "By stratified cross-validation", columns, rows)
        return [Section("The figures", (), (), [table])]

    def _figure(self) -> Draw:
        auroc = [Entry("b", self.values["auroc"]), Entry("null", self.values["null_auroc"])]
        rows = [
            EstimateRow("AUROC", auroc),
            EstimateRow("balanced accuracy", [Entry("b", self.values["balanced_accuracy"])]),
            EstimateRow("accuracy", [Entry("b", self.values["accuracy"])]),
        ]
        return estimate_chart(rows, x_name="on held-out descriptions", names=NAMES, null=0.5)
