"""The steps of `train_saes`, of which a sweep is made, too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common.job import CorpusJob
from experiments.sae_sweep.page import SweepPage
from experiments.train_saes.config import Config, EvaluationConfig
from experiments.train_saes.page import TrainingPage
from interp.corpus.document import Corpus
from interp.render.page import render_page
from interp.subject import Site, Subject
from interp.track.files import publish, write_text
from interp.track.run import Run
from interp.track.step import Step
from saes.evaluation import evaluate, training_probe
from saes.fitting import Evaluate
from saes.load import load as load_dictionary
from saes.train import Plan, train_together

HEADLINE = ("explained_variance", "l0", "cross_entropy_recovered")


class Job(CorpusJob[Config]):
    """The steps, and what they share."""

    def steps(self) -> None:
        """All steps in order; those that have finished are skipped."""
        plans, subject, corpus, rows = self.config.plans(), self.subject, self.corpus, self.rows()
        trained = self.run.step("train", lambda step: train_all(step, subject, corpus, plans))
        publish_dictionaries(self.run, trained, plans)
        self.run.step(
            "measure",
            lambda step: measure_all(step, subject, corpus, plans, trained, rows, self.config.evaluation),
        )
        self.run.step("report", self.report)
        self.run.publish_report(self.run.folder / "steps" / "report" / "report.html")

    def rows(self) -> list[dict[str, Any]]:
        """What stands before the figures in each dictionary's line of the table."""
        return [{"dictionary": plan.name} for plan in self.config.plans()]

    def evidence(self) -> TrainingPage | SweepPage:
        """What the page is made of."""
        return TrainingPage(self.run, self.subject, self.corpus, self.config.plans())

    def report(self, step: Step) -> None:
        """The page and its figures."""
        page = self.evidence()
        for name, svg in page.files().items():
            step.figure(name, svg)
        write_text(step.folder / "report.html", render_page(page.page()))


def train_all(step: Step, subject: Subject, corpus: Corpus, plans: Sequence[Plan]) -> None:
    """Every dictionary, from one reading of the corpus; curves are logged as sae/NAME/FIGURE."""
    checkpoints = step.scratch / "checkpoints"
    checkpoints.mkdir(exist_ok=True)

    def log(name: str, values: dict[str, float], tokens: int) -> None:
        step.log({f"sae/{name}/{key.removeprefix('sae/')}": value for key, value in values.items()}, tokens)

    context_size = plans[0].training.context_size
    probes: dict[tuple[Site, ...], Evaluate] = {
        sites: training_probe(subject, sites[0], corpus, target=sites[-1], context_size=context_size)
        for sites in {plan.sites for plan in plans}
    }
    train_together(
        subject,
        plans,
        corpus,
        step.folder / "saes",
        checkpoints=checkpoints,
        log=log,
        evaluate=lambda plan: probes[plan.sites],
        progress=step.progress,
    )


def publish_dictionaries(run: Run, trained: Path, plans: Sequence[Plan]) -> None:
    """Brings the folders of the dictionaries to saes/NAME of the run."""
    for plan in plans:
        for file in (trained / "saes" / plan.name).iterdir():
            publish(file, run.folder / "saes" / plan.name / file.name)


def measure_all(
    step: Step,
    subject: Subject,
    corpus: Corpus,
    plans: Sequence[Plan],
    trained: Path,
    rows: Sequence[dict[str, Any]],
    options: EvaluationConfig,
) -> None:
    """Figures of every dictionary on the report split, as metrics and as the table `dictionaries`.

    `rows` say what stands before the figures in each dictionary's line of the table.
    """
    table, rates = [], []
    with step.progress.task("measuring", total=len(plans), unit="dictionaries") as advance:
        for plan, row in zip(plans, rows, strict=True):
            latents = load_dictionary(subject, trained / "saes" / plan.name, name=plan.name)
            figures = evaluate(
                subject, latents, corpus, max_tokens=options.tokens, context_size=options.context_size
            )
            values = figures.metrics(f"sae/{plan.name}")
            for name, value in values.items():
                step.metric(name, value, headline=len(plans) <= 4 and name.rpartition("/")[2] in HEADLINE)
            kind = plan.training.architecture.kind
            own = {"site": str(plan.site), "architecture": kind, "latents": plan.training.n_latents}
            table.append(row | own | {name.rpartition("/")[2]: value for name, value in values.items()})
            rates += [
                {"dictionary": plan.name, "decade": decade, "latents": count}
                for decade, count in figures.rate_histogram.items()
            ]
            advance(1)
    step.table("dictionaries", pd.DataFrame(table))
    step.table("firing_rates", pd.DataFrame(rates))
