"""All methods on the same behaviours: effect, side effects, examples needed, seconds; beside prompting."""

from typing import TYPE_CHECKING

from experiments._vector_config import TrialConfig, check_trial
from interp.fields import Count, Listed, NonEmpty, PathText
from interp.vectors.methods import (
    Contrastive,
    Function,
    InContext,
    InferenceTime,
    Method,
    Projection,
    Task,
    Truthful,
)

if TYPE_CHECKING:
    from interp.track.run import Run

QUESTION = "Which way to steer {subject} does most, and costs least?"
DONE = (
    "Every method was given the same pairs, the same questions to choose layer and strength on, and "
    "the same questions to be judged by."
)


class Config(TrialConfig):
    """What is steered, and by what."""

    behaviours: NonEmpty[PathText] = (
        "refusal",
        "compliance",
        "honesty",
        "sycophancy",
        "dates",
        "tamric",
        "task/antonym",
        "task/plural",
        "task/capital",
    )
    """Behaviours of the world, task/NAME for its tasks, or .jsonl files of prompts with two completions."""
    methods: NonEmpty[Method] = (
        Contrastive(),
        Projection(),
        Task(),
        Function(),
        InContext(),
        InferenceTime(),
        Truthful(),
    )
    """What is tried."""
    examples: Listed[Count] = (2, 4, 8, 16, 32)
    """Numbers of pairs to make a vector of again: how few would do?"""


def check(config: Config) -> None:
    """Finds an unknown behaviour, file, head or corpus before anything is written."""
    check_trial(config)


def run(config: Config, run: "Run") -> None:
    """Sweeps every method, chooses on one half of the prompts, and reports on the other."""
    from experiments._vector_trial import VectorTrial

    VectorTrial(config, run, QUESTION, DONE).run()
