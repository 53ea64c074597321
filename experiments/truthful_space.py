"""Editing in a learned space that holds a behaviour apart from the content, after TruthX."""

from typing import TYPE_CHECKING

from experiments._vector_config import TrialConfig, check_trial
from interp.fields import NonEmpty, PathText
from interp.vectors.methods import Method, Truthful

if TYPE_CHECKING:
    from interp.track.run import Run

QUESTION = "Can {subject} be steered in a learned space that holds a behaviour apart from the content?"
DONE = (
    "An autoencoder with a semantic and a truthful part was trained on both sides of the pairs, and "
    "activations were moved along the difference of the sides in the truthful part."
)


class Config(TrialConfig):
    """What is steered, and how."""

    behaviours: NonEmpty[PathText] = ("honesty", "sycophancy")
    """Behaviours of the world, task/NAME for its tasks, or .jsonl files of prompts with two completions."""
    methods: NonEmpty[Method] = (Truthful(),)
    """What is tried."""


def check(config: Config) -> None:
    """Finds an unknown behaviour, file, head or corpus before anything is written."""
    check_trial(config)


def run(config: Config, run: "Run") -> None:
    """Sweeps, chooses on one half of the prompts, and reports on the other."""
    from experiments._vector_trial import VectorTrial

    VectorTrial(config, run, QUESTION, DONE).run()
