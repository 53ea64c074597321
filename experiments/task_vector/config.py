"""Task vectors: does the last token's activation after examples do their task without examples?"""

from interp.fields import Count, Flag, Several
from interp.vectors.tasks import TaskSource, WorldTasks

from ..common.vectors.config import TasksConfig, check_vector_config


class Config(TasksConfig):
    """Which tasks are studied, and from how many examples vectors are made."""

    tasks: TaskSource = WorldTasks(
        tasks=("antonym", "plural", "past", "capital", "language", "currency", "zorvic", "tamric")
    )
    """In-context tasks."""
    shots: Count = 5
    """Examples in a prompt."""
    prompts: Several = 48
    """Number of prompts, each with a dummy query, whose mean is a vector."""
    only_right: Flag = True
    """Whether prompts that the model gets wrong are left out of the mean (the paper's filter)."""


def check(config: Config) -> None:
    """Raises UserError for missing files or unknown tasks, before anything is written."""
    config.tasks.check(check_vector_config(config))
