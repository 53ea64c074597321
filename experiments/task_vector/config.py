"""Task vectors: does what examples leave at the last token do their task in a prompt without examples?"""

from interp.fields import Count, Flag, Several
from interp.vectors.tasks import TaskSource, WorldTasks, check_tasks

from ..common.vectors.config import VectorConfig, check_vector_config


class Config(VectorConfig):
    """Which tasks, and how many examples."""

    tasks: TaskSource = WorldTasks(
        tasks=("antonym", "plural", "past", "capital", "language", "currency", "zorvic", "tamric")
    )
    """Tasks by example."""
    shots: Count = 5
    """Examples in a prompt."""
    prompts: Several = 48
    """Prompts, each with a dummy query, that a vector is the mean of."""
    only_right: Flag = True
    """Whether prompts that the model gets wrong are left out of the mean (the paper's filter)."""


def check(config: Config) -> None:
    """Raises UserError for missing files or unknown tasks, before anything is written."""
    check_vector_config(config)
    check_tasks(config.tasks)
