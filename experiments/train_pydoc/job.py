"""The steps of `train_pydoc`."""

import shutil
import time
from pathlib import Path

from interp.bundled.pydoc.corpus import PydocCorpus
from interp.bundled.pydoc.evaluate import evaluate
from interp.bundled.pydoc.export import export, write_card, write_sae_card
from interp.bundled.pydoc.texts import pydoc_texts
from interp.bundled.pydoc.tokenizer import train_tokenizer
from interp.bundled.pydoc.train import train
from interp.subject import Site, load
from interp.track.step import Step
from saes.evaluation import evaluate as evaluate_sae
from saes.train import train as train_sae

from ..common.dictionaries.training import set_metrics
from ..common.job import ExperimentJob
from .config import Config


class Job(ExperimentJob[Config]):
    """Trains and measures the model and its SAE."""

    def steps(self) -> None:
        """Trains and measures the model, then its SAE."""
        trained = self.run.step("train", self.train)
        measured = self.run.step("measure", lambda step: self.measure(step, trained / "pydoc"))
        self.run.step("sae", lambda step: self.sae(step, measured / "pydoc"))

    def train(self, step: Step) -> None:
        """Trains the tokenizer and the model on the training part."""
        recipe, seed = self.config.recipe, self.config.seed
        whole = not any(step.scratch.glob("*.safetensors"))
        texts = [document.text for document in pydoc_texts("training")]
        tokenizer = train_tokenizer(texts, recipe.size.d_vocab)
        began = time.monotonic()
        model = train(recipe, seed, tokenizer, texts, step.scratch, step.log, step.progress)
        # the time is unknown if the run was killed in between
        step.metric("pydoc/training_seconds", time.monotonic() - began if whole else None)
        export(model, tokenizer, step.folder / "pydoc")

    def measure(self, step: Step, trained: Path) -> None:
        """Measures the model on the held-out part: metrics, a table, and its card."""
        folder = step.folder / "pydoc"
        shutil.copytree(trained, folder)
        evaluation = evaluate(folder, progress=step.progress)
        for name, value in evaluation.metrics().items():
            step.metric(name, value, headline=name in ("pydoc/model/bits_per_byte", "pydoc/model/accuracy"))
        step.table("figures", evaluation.table())
        known = self.run.metrics["pydoc/training_seconds"]
        seconds = float(known) if known is not None else None
        write_card(folder, self.config.recipe, self.config.seed, evaluation, seconds)

    def sae(self, step: Step, model: Path) -> None:
        """Trains an SAE on the training part, and measures it on the report split of the held-out part."""
        subject, site = load(model), Site.parse(self.config.sae_site)
        training, held_out = PydocCorpus(subject, "training"), PydocCorpus(subject, "held_out")
        latents = train_sae(
            subject,
            site,
            training,
            self.config.sae,
            step.folder / "sae",
            checkpoint=step.scratch / "checkpoint.safetensors",
            log=step.log,
            progress=step.progress,
        )
        figures = evaluate_sae(subject, latents, held_out, progress=step.progress)
        set_metrics(step, figures, "sae")
        write_sae_card(step.folder / "sae", figures.metrics(), training.name, held_out.name)
