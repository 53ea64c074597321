"""In-context vectors: one direction through all layers, added without a change of norm."""

from typing import TYPE_CHECKING

from experiments._vector_config import TrialConfig, check_trial
from interp.fields import NonEmpty, PathText
from interp.vectors.methods import InContext, Method

if TYPE_CHECKING:
    from interp.track.run import Run

QUESTION = "Can {subject} be steered by one direction through all its layers that keeps every norm?"
DONE = (
    "Pairs of texts gave one direction for all layers together, which was added to the MLPs' outputs "
    "at every position without a change of norm."
)


class Config(TrialConfig):
    """What is steered, and how."""

    behaviours: NonEmpty[PathText] = ("honesty", "sycophancy", "task/plural", "tamric")
    """Behaviours of the world, task/NAME for its tasks, or .jsonl files of prompts with two completions."""
    methods: NonEmpty[Method] = (InContext(),)
    """What is tried."""


def check(config: Config) -> None:
    """Finds an unknown behaviour, file, head or corpus before anything is written."""
    check_trial(config)


def run(config: Config, run: "Run") -> None:
    """Sweeps, chooses on one half of the prompts, and reports on the other."""
    from experiments._vector_trial import VectorTrial

    VectorTrial(config, run, QUESTION, DONE).run()
