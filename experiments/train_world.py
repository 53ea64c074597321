"""Train the bundled `world` model again, measure its behaviours and export it."""

import shutil
import time

from interp.bundled.world.evaluate import evaluate
from interp.bundled.world.export import export, write_card
from interp.bundled.world.train import Recipe, check_recipe, train
from interp.config import ExperimentConfig
from interp.track.run import Run
from interp.track.step import Step


class Config(ExperimentConfig):
    """Everything that determines the weights, besides the world itself."""

    recipe: Recipe = Recipe()
    """How the model is trained."""


def check(config: Config) -> None:
    """Raises UserError for a missing device or an unknown family, before anything is written."""
    check_recipe(config.recipe)


def run(config: Config, run: Run) -> None:
    """Runs two steps: `train` writes the model, `measure` the same model with its card."""

    def train_step(step: Step) -> None:
        whole = not any(step.scratch.glob("*.safetensors"))
        began = time.monotonic()
        model = train(config.recipe, config.seed, step.scratch, step.log, step.progress)
        # the time is unknown if the run was killed in between
        step.metric("world/training_seconds", time.monotonic() - began if whole else None)
        export(model, step.folder / "world")

    trained = run.step("train", train_step)

    def measure_step(step: Step) -> None:
        folder = step.folder / "world"
        shutil.copytree(trained / "world", folder)
        evaluation = evaluate(folder, progress=step.progress)
        for figure in evaluation.figures:
            step.metric(f"world/{figure.name}", figure.rate)
        step.metric("world/broken_bounds", len(evaluation.broken), headline=True)
        step.table("behaviours", evaluation.table())
        seconds = run.metrics["world/training_seconds"]
        write_card(
            folder, config.recipe, config.seed, evaluation, float(seconds) if seconds is not None else None
        )

    run.step("measure", measure_step)
