"""The steps of `sae_sweep`."""

from experiments._sae_sweep_page import SweepPage
from experiments._train_saes import measure_all, publish_dictionaries, train_all
from experiments.sae_sweep import Config
from interp.corpus.source import open_corpus
from interp.render.page import render_page
from interp.subject import load
from interp.track.files import write_text
from interp.track.run import Run
from interp.track.step import Step


class SaeSweep:
    """The steps, and what they share."""

    def __init__(self, config: Config, run: Run) -> None:
        self.config = config
        self.steps = run
        self.subject = load(**config.subject.model_dump())
        self.corpus = open_corpus(config.corpus, self.subject)

    def run(self) -> None:
        """All steps in order; those that have finished are skipped."""
        grid, subject, corpus = self.config.grid(), self.subject, self.corpus
        plans = [plan for plan, _, _ in grid]
        trained = self.steps.step("train", lambda step: train_all(step, subject, corpus, plans))
        publish_dictionaries(self.steps, trained, plans)
        rows = [{"dictionary": plan.name, "sparsity": sparsity} for plan, _, sparsity in grid]
        self.steps.step(
            "measure",
            lambda step: measure_all(step, subject, corpus, plans, trained, rows, self.config.evaluation),
        )
        self.steps.step("report", self.report)
        self.steps.write_report((self.steps.folder / "steps" / "report" / "report.html").read_text())

    def report(self, step: Step) -> None:
        """The page and its figures."""
        page = SweepPage(self.steps, self.subject, self.corpus, self.config)
        for name, svg in page.files().items():
            step.figure(name, svg)
        write_text(step.folder / "report.html", render_page(page.page()))
