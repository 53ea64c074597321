"""Inference-time intervention: shift the heads from which a probe tells a behaviour best."""

from typing import TYPE_CHECKING

from experiments._vector_config import TrialConfig, check_trial
from interp.fields import Flag, NonEmpty, PathText
from interp.vectors.methods import InferenceTime, Method

if TYPE_CHECKING:
    from interp.track.run import Run

QUESTION = "Can {subject} be steered through the few heads from which a probe tells a behaviour?"
DONE = (
    "Logistic regressions on every head's output were ranked on held-out pairs; the best heads were "
    "shifted along the difference of the sides' means, in units of their standard deviation."
)


class Config(TrialConfig):
    """What is steered, and how."""

    behaviours: NonEmpty[PathText] = ("honesty", "sycophancy", "dates")
    """Behaviours of the world, task/NAME for its tasks, or .jsonl files of prompts with two completions."""
    methods: NonEmpty[Method] = (InferenceTime(),)
    """What is tried."""
    two_fold: Flag = True
    """Whether the halves that are chosen and reported on also change places, as the paper's two folds do."""


def check(config: Config) -> None:
    """Finds an unknown behaviour, file, head or corpus before anything is written."""
    check_trial(config)


def run(config: Config, run: "Run") -> None:
    """Sweeps, chooses on one half of the prompts, and reports on the other."""
    from experiments._vector_trial import VectorTrial

    VectorTrial(config, run, QUESTION, DONE).run()
