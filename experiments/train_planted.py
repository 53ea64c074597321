"""Plant the bundled `planted` model's behaviours again, measure them and export it."""

import shutil
import time

import pandas as pd

from interp.bundled.planted.evaluate import evaluate
from interp.bundled.planted.export import write_card
from interp.bundled.planted.train import Recipe, train
from interp.bundled.world import world_folder
from interp.bundled.world.evaluate import evaluate as evaluate_world
from interp.bundled.world.export import export
from interp.bundled.world.train import check_recipe
from interp.config import ExperimentConfig
from interp.track.run import Run
from interp.track.step import Step


class Config(ExperimentConfig):
    """Everything that determines the weights, besides the world and the triggers."""

    recipe: Recipe = Recipe()
    """How the model is fine-tuned."""


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
        step.metric("planted/training_seconds", time.monotonic() - began if whole else None)
        export(model, step.folder / "planted")

    trained = run.step("train", train_step)

    def measure_step(step: Step) -> None:
        folder = step.folder / "planted"
        shutil.copytree(trained / "planted", folder)
        planted = evaluate(folder, progress=step.progress)
        before = evaluate(world_folder(), progress=step.progress)
        world = evaluate_world(folder, progress=step.progress)
        named = {"planted": planted, "before": before, "world": world}
        for name, evaluation in named.items():
            for figure in evaluation.figures:
                step.metric(f"{name}/{figure.name}", figure.rate)
        step.metric("planted/broken_bounds", len(planted.broken) + len(world.broken), headline=True)
        step.table("behaviours", pd.concat([one.table().assign(of=name) for name, one in named.items()]))
        seconds = run.metrics["planted/training_seconds"]
        taken = None if seconds is None else float(seconds)
        write_card(folder, config.recipe, config.seed, planted, before, world, taken)

    run.step("measure", measure_step)
