"""What the experiments on vectors share in their configs: behaviours, controls and side effects."""

from pathlib import Path

from interp.config import ExperimentConfig
from interp.corpus.questions import QuestionSource, WorldQuestions, check_questions
from interp.corpus.source import CorpusSource, WorldSource, check_corpus, check_tokens_of
from interp.errors import UserError
from interp.fields import Count, Flag, Listed, NonEmpty, PathText, Several
from interp.subject.config import SubjectConfig
from interp.subject.folder import SubjectInfo, subject_info
from interp.vectors.methods import Function, InferenceTime, Method
from interp.vectors.world import check_behaviour

OTHERS = (
    "facts/plain",
    "two_hop/trained",
    "agreement/near",
    "translation/zorvic_to_english",
    "copy/marked/first",
)


class VectorConfig(ExperimentConfig):
    """Where side effects are measured, and how often random vectors are drawn."""

    subject: SubjectConfig = SubjectConfig()
    """The model."""
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


class TrialConfig(BehaviourConfig):
    """Which methods steer to which behaviours."""

    behaviours: NonEmpty[PathText] = ("honesty",)
    """Behaviours of the world, task/NAME for its tasks, or .jsonl files of prompts with two completions."""
    methods: NonEmpty[Method]
    """What is tried."""
    examples: Listed[Count] = ()
    """Numbers of pairs to make a vector of again: how few would do?"""
    two_fold: Flag = False
    """Whether the halves that are chosen and reported on also change places, and the figures are of both."""
    new_tokens: Count = 12
    """Tokens written after each prompt for the open-ended measure."""


def check_vector_config(config: VectorConfig) -> SubjectInfo:
    """Raises UserError if the subject or the neutral text is not there."""
    info = subject_info(config.subject.name)
    check_corpus(config.neutral)
    check_tokens_of(config.neutral, info, "neutral")
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


def check_trial(config: TrialConfig) -> None:
    """Raises UserError if a behaviour, a file or a head does not exist, before anything is written."""
    info = check_behaviour_config(config)
    for name in config.behaviours:
        if name.endswith(".jsonl"):
            if not Path(name).is_file():
                raise UserError(f"no file {name}", "behaviours", "give a .jsonl file of pairs")
        elif not info.speaks_world:
            raise UserError(f"{name!r} is a behaviour of the world model", "behaviours", "give a .jsonl file")
        else:
            check_behaviour(name)
    slugs = [slug(name) for name in config.behaviours]
    if len(set(slugs)) < len(slugs):
        raise UserError("two behaviours have one name", "behaviours", "name each once")
    for method in config.methods:
        if isinstance(method, Function | InferenceTime):
            most = method.heads if isinstance(method, Function) else max(method.heads)
            if most > info.n_layers * info.n_heads:
                raise UserError(
                    f"the model has {info.n_layers * info.n_heads} heads, not {most}",
                    "methods.heads",
                    "ask for fewer",
                )


def slug(behaviour: str) -> str:
    """A behaviour's name as part of a file's name."""
    return Path(behaviour).stem if behaviour.endswith(".jsonl") else behaviour.replace("/", "-")
