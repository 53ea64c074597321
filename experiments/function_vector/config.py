"""Function vectors: is a task carried by a few attention heads, and does their sum do the task anywhere?"""

from typing import Literal

from interp.errors import UserError
from interp.fields import Count, Finite, Flag, NonEmpty, Several

from ..common.vectors.config import TasksConfig, check_vector_config


class Config(TasksConfig):
    """Which tasks are studied, and how their heads are found."""

    shots: Count = 5
    """Examples in a prompt that shows a task (the paper's 10)."""
    prompts: Several = 100
    """Prompts over which the outputs of heads are averaged."""
    only_right: Flag = True
    """Whether prompts that the model gets wrong are left out of the mean (the paper's filter)."""
    corrupted: Literal["shuffled", "zero_shot"] = "shuffled"
    """Prompts on which a head's effect is measured: with shuffled answers (the paper), or no examples."""
    effect_prompts: Several = 25
    """Prompts over which a head's effect is averaged."""
    heads: Count = 10
    """Number of heads summed into the vector, those of largest effect."""
    universal: Flag = False
    """Whether heads are ranked by their mean effect over all tasks (the paper's set), not task by task."""
    strengths: NonEmpty[Finite] = (1.0,)
    """Multiples of the vector that are added."""


def check(config: Config) -> None:
    """Raises UserError for missing files, unknown tasks or too many heads, before anything is written."""
    info = check_vector_config(config)
    config.tasks.check(info)
    if config.heads > info.n_layers * info.n_heads:
        raise UserError(
            f"the model has {info.n_layers * info.n_heads} heads, not {config.heads}",
            "heads",
            "ask for fewer",
        )
