"""Config bases of the experiments on vectors: controls, side effects, and questions about other things."""

from pathlib import Path

from interp.corpus.questions import QuestionSource, WorldQuestions
from interp.corpus.source import CorpusSource, WorldSource
from interp.errors import UserError
from interp.fields import Count, Several
from interp.subject.folder import SubjectInfo
from interp.vectors.control import Drawn
from interp.vectors.tasks import SeveralTokens, TaskFiles, TaskFormat, TaskSource, WorldTasks

from ..config import SubjectJobConfig, check_subject

OTHERS = (
    "facts/plain",
    "two_hop/trained",
    "agreement/near",
    "translation/zorvic_to_english",
    "copy/marked/first",
)


class VectorConfig(SubjectJobConfig):
    """A job on vectors: where side effects are measured, and how many random vectors are drawn."""

    neutral: CorpusSource = WorldSource(documents=4000)
    """Text for side effects: its select split is used to choose, its report split to report."""
    neutral_texts: Several = 200
    """Number of documents of the neutral text whose beginnings are read."""
    draws: Count = 3
    """Number of random vectors for each chosen one."""
    random: Drawn = "isotropic"
    """Random vectors point in all directions alike (isotropic), or vary as activations at the ends of neutral
    texts do (activations): the harder null where a model's activations are long in a few directions."""


class NamedTasksConfig(VectorConfig):
    """A job that names its tasks: those of the world, or files."""

    format: TaskFormat = TaskFormat()
    """The layout of prompts of tasks from files."""
    answers: SeveralTokens = "whole"
    """Answers of several tokens in files: judged by all of them, by the first, or left out."""

    def task_source(self, name: str) -> TaskSource:
        """Returns the source of a task: a .json file, or one of the world by name."""
        if name.endswith(".json"):
            return TaskFiles(paths=(Path(name),), answers=self.answers, format=self.format)
        return WorldTasks(tasks=(name,))


class TasksConfig(VectorConfig):
    """A job on in-context tasks."""

    tasks: TaskSource = WorldTasks()
    """In-context tasks."""


class BehaviourConfig(VectorConfig):
    """A job that steers a behaviour, and measures what should stay unchanged."""

    others: QuestionSource | None = WorldQuestions(behaviours=OTHERS, most=40)
    """Questions about other things, whose answers should not change; null for none."""


def check_vector_config(config: VectorConfig) -> SubjectInfo:
    """Raises UserError if the subject or the neutral text is not there."""
    info = check_subject(config)
    config.neutral.check(info, "neutral")
    return info


def check_behaviour_config(config: BehaviourConfig) -> SubjectInfo:
    """Raises UserError as `check_vector_config`, or if the other questions are not there."""
    info = check_vector_config(config)
    if not info.speaks_world and isinstance(config.others, WorldQuestions):
        raise UserError(
            f"the world's questions are token ids of the world model, not of {info.name}",
            "others.kind",
            "use `others: null`, or `others: {kind: file, path: ...}`",
        )
    if config.others is not None:
        config.others.check(info, "others")
    return info
