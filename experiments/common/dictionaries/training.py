"""Trains dictionaries: one within a larger job, or several from one reading of the corpus."""

from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from interp.corpus.activations import KeptActivations
from interp.document import Corpus
from interp.subject import Site, Subject
from interp.track.step import Step
from saes.config import SaeTraining
from saes.evaluation import SaeEvaluation, evaluate, training_probe
from saes.load import load
from saes.train import Plan, train, train_together

from ..job import CorpusJob
from .config import TrainingJobConfig
from .shared import probed, train_shared

HEADLINE = ("explained_variance", "l0", "cross_entropy_recovered")


def train_dictionary(
    step: Step,
    subject: Subject,
    site: Site,
    corpus: Corpus,
    config: SaeTraining,
    folder: Path,
    prefix: str = "sae",
    kept: KeptActivations | None = None,
) -> None:
    """Trains an SAE into `folder`; its measures on the report split become metrics under `prefix`.

    Activations that `kept` has are read from there.
    """
    latents = train(
        subject,
        site,
        corpus,
        config,
        folder,
        checkpoint=step.scratch / "checkpoint.safetensors",
        log=step.log,
        evaluate=training_probe(subject, site, corpus, context_size=config.context_size),
        progress=step.progress,
        kept=kept,
    )
    figures = evaluate(
        subject, latents, corpus, context_size=config.context_size, progress=step.progress, kept=kept
    )
    set_metrics(step, figures, prefix)


def set_metrics(step: Step, figures: SaeEvaluation, prefix: str, headline: bool = True) -> dict[str, float]:
    """Sets the measures of a dictionary as metrics PREFIX/NAME, and returns them by NAME."""
    values = {name.removeprefix(f"{prefix}/"): value for name, value in figures.metrics(prefix).items()}
    for name, value in values.items():
        step.metric(f"{prefix}/{name}", value, headline=headline and name in HEADLINE)
    return values


Configured = TypeVar("Configured", bound=TrainingJobConfig)


class TrainingJob(CorpusJob[Configured]):
    """Trains and measures all dictionaries of a config; an experiment adds its page."""

    def train_and_measure(self) -> None:
        """Runs the steps `train` and `measure`, and copies the dictionaries to saes/NAME of the run."""
        self.kept = self.keep_activations([site for plan in self.config.plans() for site in plan.sites])
        trained = self.run.step("train", self.train) / "saes"
        for plan in self.config.plans():
            self.publish(trained / plan.name, f"saes/{plan.name}")
        self.run.step("measure", lambda step: self.measure(step, trained))

    def train(self, step: Step) -> None:
        """Trains every dictionary; curves are logged as sae/NAME/MEASURE.

        One reading of the corpus serves all; with an engine of several workers, each worker reads it for its
        part of them, which gives the same dictionaries.
        """
        plans = self.config.plans()

        def log(name: str, values: dict[str, float], tokens: int) -> None:
            step.log(
                {f"sae/{name}/{key.removeprefix('sae/')}": value for key, value in values.items()}, tokens
            )

        if self.engine.n_workers > 1:
            train_shared(self.engine, self.subject, plans, self.corpus, step, log)
            return
        checkpoints = step.scratch / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        train_together(
            self.subject,
            plans,
            self.corpus,
            step.folder / "saes",
            checkpoints=checkpoints,
            log=log,
            evaluate=probed(self.subject, self.corpus, plans),
            progress=step.progress,
            kept=self.kept,
        )

    def measure(self, step: Step, trained: Path) -> None:
        """Measures every dictionary on the report split: metrics, and the table `dictionaries`."""
        plans, options = self.config.plans(), self.config.evaluation
        table, rates = [], []
        with step.progress.task("measuring", total=len(plans), unit="dictionaries") as advance:
            for plan in plans:
                figures = evaluate(
                    self.subject,
                    load(self.subject, trained / plan.name, name=plan.name),
                    self.corpus,
                    max_tokens=options.tokens,
                    loss_tokens=options.loss_tokens,
                    context_size=options.context_size,
                    kept=self.kept,
                )
                table.append(
                    self.described(plan) | set_metrics(step, figures, f"sae/{plan.name}", len(plans) <= 4)
                )
                rates += [
                    {"dictionary": plan.name, "decade": decade, "latents": count}
                    for decade, count in figures.rate_histogram.items()
                ]
                advance(1)
        step.table("dictionaries", pd.DataFrame(table))
        step.table("firing_rates", pd.DataFrame(rates))

    def described(self, plan: Plan) -> dict[str, Any]:
        """Returns the columns that come before the measures in a dictionary's row of the table."""
        return {
            "dictionary": plan.name,
            "site": str(plan.site),
            "architecture": plan.training.architecture.kind,
            "latents": plan.training.n_latents,
        }
