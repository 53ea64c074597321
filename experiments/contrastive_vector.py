"""Contrastive activation addition: the mean difference (or another direction) of pairs, added at a layer."""

from typing import TYPE_CHECKING

from experiments._vector_config import TrialConfig, check_trial
from interp.fields import NonEmpty, PathText
from interp.vectors.methods import Contrastive, Method

if TYPE_CHECKING:
    from interp.track.run import Run

QUESTION = (
    "Can {subject} be steered by the difference between texts that show a behaviour and texts that do not?"
)
DONE = (
    "Pairs of texts, with and without a behaviour, gave one vector for each layer: their mean "
    "difference, its first principal component, or a logistic regression."
)


class Config(TrialConfig):
    """What is steered, and how."""

    behaviours: NonEmpty[PathText] = ("honesty", "sycophancy", "refusal")
    """Behaviours of the world, task/NAME for its tasks, or .jsonl files of prompts with two completions."""
    methods: NonEmpty[Method] = (Contrastive(),)
    """What is tried."""


def check(config: Config) -> None:
    """Finds an unknown behaviour, file, head or corpus before anything is written."""
    check_trial(config)


def run(config: Config, run: "Run") -> None:
    """Sweeps, chooses on one half of the prompts, and reports on the other."""
    from experiments._vector_trial import VectorTrial

    VectorTrial(config, run, QUESTION, DONE).run()
