"""Steer behaviours by vectors: what each method does, costs elsewhere, and needs."""

from pathlib import Path

from interp.errors import UserError
from interp.fields import Count, Flag, Listed, NonEmpty, PathText, Text
from interp.vectors.methods import Function, InferenceTime, Method
from interp.vectors.world import check_behaviour

from ..common.vectors.config import BehaviourConfig, check_behaviour_config


class Config(BehaviourConfig):
    """Which methods steer to which behaviours."""

    question: Text = "Which way to steer {subject} does most, and costs least?"
    """What the page asks; {subject} stands for the model's name."""
    done: Text = (
        "Every method was given the same pairs, the same questions to choose layer and strength on, and "
        "the same questions to be judged by."
    )
    """What the page says was done, in one sentence."""

    behaviours: NonEmpty[PathText]
    """Behaviours of the world, task/NAME for its tasks, or .jsonl files of prompts with two completions."""
    methods: NonEmpty[Method]
    """What is tried."""
    examples: Listed[Count] = ()
    """Numbers of pairs to make a vector of again: how few would do?"""
    two_fold: Flag = False
    """Whether the halves that are chosen and reported on also change places, and the figures are of both."""
    new_tokens: Count = 12
    """Tokens written after each prompt for the open-ended measure."""


def check(config: Config) -> None:
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
