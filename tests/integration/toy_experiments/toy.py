"""Toy: three steps with randomness, a checkpoint and a history, for the tests of runs."""

import json
import random
import time

import numpy as np
import pandas as pd

from interp.config import ExperimentConfig
from interp.errors import UserError
from interp.fields import Count, Finite, Line, NonEmpty, NotNegative, Offset, Section
from interp.render.charts.parts import nothing
from interp.render.figure import Figure
from interp.track.files import write_json
from interp.track.run import Run
from interp.track.step import Step


class Training(Section):
    """The long step."""

    rounds: Count = 6
    """How many rounds."""
    rates: NonEmpty[Finite] = (0.5, 0.25)
    """Learning rates."""


class Config(ExperimentConfig):
    """The toy."""

    training: Training = Training()
    """The long step."""
    layer: Offset = 0
    """Layer 0 to 7."""
    pause_seconds: NotNegative = 0.0
    """How long each piece of work takes."""
    fail: Line = ""
    """Which step fails."""


def check(config: Config) -> None:
    if not 0 <= config.layer < 8:
        raise UserError(f"there is no layer {config.layer}", "layer", "0 to 7")


def run(config: Config, run: Run) -> None:
    def draw(step: Step) -> None:
        time.sleep(config.pause_seconds)
        numbers = np.random.normal(size=50) + random.random()
        step.table("numbers", pd.DataFrame({"number": numbers}))
        step.metric("draw/mean", numbers.mean(), headline=True)

    def train(step: Step) -> None:
        checkpoint = step.scratch / "checkpoint.json"
        state = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"round": 0, "weight": 1.0}
        with step.progress.task("training", total=config.training.rounds, unit="rounds") as advance:
            advance(state["round"])
            for number in range(state["round"], config.training.rounds):
                if config.fail == "train" and number == 2:
                    raise ZeroDivisionError("the toy was told to fail")
                time.sleep(config.pause_seconds)
                noise = np.random.default_rng([config.seed, number]).normal()
                state = {"round": number + 1, "weight": state["weight"] * config.training.rates[0] + noise}
                step.log({"train/weight": state["weight"]}, at=number)
                if number % 2:
                    write_json(checkpoint, state)
                advance(1)
        step.metric("train/weight_end", state["weight"], headline=True)
        step.figure(Figure("curve", "", "", nothing("nothing")))

    def judge(step: Step) -> None:
        time.sleep(config.pause_seconds)
        numbers = pd.read_parquet(run.folder / "tables" / "numbers.parquet")["number"].to_numpy()
        resampled = [np.random.choice(numbers, len(numbers)).mean() for _ in range(20)]
        step.metric("judge/spread", np.std(resampled))
        step.metric("judge/undefined", float("nan"))

    run.step("draw", draw)
    run.step("train", train)
    run.step("judge", judge)
    run.write_report(f"<!doctype html><p>{run.metrics['draw/mean']}")
