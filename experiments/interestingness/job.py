"""The steps of `interestingness`, and its page."""

from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.common.job import ExperimentJob
from experiments.interestingness.config import Config
from interp.descriptions.interest import (
    FOLDS,
    InterestClassifier,
    InterestReport,
    read_labels,
    train_interest,
)
from interp.embed.source import open_embedder
from interp.embed.tfidf import TfidfEmbedder
from interp.render.data import Estimate, Kind
from interp.render.digits import interval, measured
from interp.render.estimate_figure import Entry, EstimateRow, estimates
from interp.render.facts import run_facts, step_seconds
from interp.render.page import Column, Figure, Page, Section, Table, render_page
from interp.track.files import write_text
from interp.track.step import Step

NAMES: Mapping[Kind, str] = {"latent": "held-out descriptions", "random": "answers shuffled (null)"}
WORDS = (
    (
        "AUROC",
        "The chance that an interesting description gets a larger value than another; 0.5 is guessing.",
    ),
    ("Balanced accuracy", "The mean of the shares of both answers that are right."),
)
LIMITS = (
    "The classifier knows the words of a description and nothing else of the feature.",
    "It learns the taste of whoever wrote the labels.",
)


class Job(ExperimentJob[Config]):
    """The steps, and what they share."""

    def steps(self) -> None:
        """All steps in order; those that have finished are skipped."""
        trained = self.run.step("train", self.train)
        self.run.step("report", lambda step: self.report(step, trained))
        self.run.publish_report(self.run.folder / "steps" / "report" / "report.html")

    def train(self, step: Step) -> None:
        """The classifier, its cross-validated figures, and the embedder if it was fitted here."""
        descriptions, labels = read_labels(self.config.labels)
        embedder = open_embedder(self.config.embedder, descriptions)
        found = train_interest(descriptions, labels, embedder, self.config.seed)
        found.save(step.folder / "classifier")
        if isinstance(embedder, TfidfEmbedder):
            embedder.save(step.folder / "classifier")
        report = found.report
        step.metric("labels/n", report.n, headline=True)
        step.metric("labels/interesting", report.n_interesting)
        for name in ("auroc", "balanced_accuracy", "accuracy", "null_auroc"):
            for end, value in zip(("", "_low", "_high"), getattr(report, name), strict=True):
                step.metric(f"held_out/{name}{end}", value, headline=name == "auroc" and not end)

    def report(self, step: Step, trained: Path) -> None:
        """The page and its figure."""
        report = InterestClassifier.load(trained / "classifier").report
        step.figure("figures", figure(report, standalone=True)(620))
        auroc = Estimate(*report.auroc)
        share = report.n_interesting / report.n
        measured_on = f"{report.n} labelled descriptions, {FOLDS} folds; whiskers: 95% intervals"
        page = Page(
            "Can it be told which descriptions are of interest?",
            [
                f"{report.n} descriptions were labelled, {share:.0%} of them as interesting.",
                f"A logistic regression on their vectors ({report.embedder}) was trained on four fifths at a "
                "time and held against the rest.",
                f"It reaches an AUROC of {measured(auroc)} ({interval(auroc)}) on descriptions that it was "
                f"not trained on, with shuffled answers {measured(Estimate(*report.null_auroc))}.",
            ],
            Figure(figure(report), "Held-out figures", measured_on),
            [Section("The figures", (), (), [table(report)])],
            WORDS,
            LIMITS,
            None,
            run_facts(self.run),
            step_seconds(self.run),
        )
        write_text(step.folder / "report.html", render_page(page))


def table(report: InterestReport) -> Table:
    """Every figure with its interval."""
    names = ("auroc", "null_auroc", "balanced_accuracy", "accuracy")
    rows = [[name.replace("_", " "), Estimate(*getattr(report, name))] for name in names]
    return Table(
        "held-out figures", "By stratified cross-validation", [Column("figure"), Column("value")], rows
    )


def figure(report: InterestReport, standalone: bool = False) -> Callable[[int], str]:
    """The figures with their intervals, AUROC beside its null."""
    auroc = [Entry("latent", Estimate(*report.auroc)), Entry("random", Estimate(*report.null_auroc))]
    rows = [
        EstimateRow("AUROC", auroc),
        EstimateRow("balanced accuracy", [Entry("latent", Estimate(*report.balanced_accuracy))]),
        EstimateRow("accuracy", [Entry("latent", Estimate(*report.accuracy))]),
    ]
    return lambda width: estimates(
        rows, x_name="on held-out descriptions", names=NAMES, null=0.5, width=width, standalone=standalone
    )
