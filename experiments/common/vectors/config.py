"""What the experiments on vectors share in their configs: behaviours, controls and side effects."""

from interp.corpus.questions import QuestionSource, WorldQuestions, check_questions
from interp.corpus.source import CorpusSource, WorldSource
from interp.errors import UserError
from interp.fields import Count, Several
from interp.subject.folder import SubjectInfo

from ..config import SubjectJobConfig, check_subject, check_text

OTHERS = (
    "facts/plain",
    "two_hop/trained",
    "agreement/near",
    "translation/zorvic_to_english",
    "copy/marked/first",
)


class VectorConfig(SubjectJobConfig):
    """Where side effects are measured, and how often random vectors are drawn."""

    neutral: CorpusSource = WorldSource(documents=4000)
    """Text on which side effects are measured: its select split to choose by, its report split to report."""
    neutral_texts: Several = 200
    """How many beginnings of its documents."""
    draws: Count = 3
    """Random vectors for each chosen one."""


class BehaviourConfig(VectorConfig):
    """What should stay as it is while a behaviour is steered."""

    others: QuestionSource | None = WorldQuestions(behaviours=OTHERS, most=40)
    """Questions about other things, on which nothing should change."""


def check_vector_config(config: VectorConfig) -> SubjectInfo:
    """Raises UserError if the subject or the neutral text is not there."""
    info = check_subject(config)
    check_text(config.neutral, info, "neutral")
    return info


def check_behaviour_config(config: BehaviourConfig) -> SubjectInfo:
    """Raises UserError as `check_vector_config`, or if the other questions are not there."""
    if config.others is not None:
        check_questions(config.others)
    info = check_vector_config(config)
    if not info.speaks_world and isinstance(config.others, WorldQuestions):
        raise UserError(
            f"the world's questions are token ids of the world model, not of {info.name}",
            "others.kind",
            "use `others: null`, or `others: {kind: file, path: ...}`",
        )
    return info
