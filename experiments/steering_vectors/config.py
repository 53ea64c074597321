"""Steer behaviours by vectors: what each method achieves, costs elsewhere, and needs."""

from pathlib import Path

from interp.errors import UserError
from interp.fields import Count, CountOrZero, Flag, Listed, NonEmpty, PathText, Text
from interp.vectors.methods import FunctionMethod, InferenceTimeMethod, Method
from interp.vectors.world import check_behaviour

from ..common.vectors.config import BehaviourConfig, NamedTasksConfig, check_behaviour_config


class Config(BehaviourConfig, NamedTasksConfig):
    """Which methods are compared, on which behaviours."""

    question: Text = "Which way to steer {subject} does most, and costs least?"
    """The title question of the page; {subject} stands for the model's name."""
    done: Text = (
        "Every method was given the same pairs, the same questions to choose layer and strength on, and "
        "the same questions to be judged by."
    )
    """The sentence with which the page says what was done."""

    behaviours: NonEmpty[PathText]
    """Behaviours of the world, task/NAME for its tasks, .jsonl files of prompts with two completions, or
    .json files of a task's examples."""
    methods: NonEmpty[Method]
    """The steering methods, each with its settings."""
    layers: Listed[CountOrZero] = ()
    """Layers of the settings that act at one layer; every layer if left out."""
    examples: Listed[Count] = ()
    """Numbers of pairs from which the vector is made again, to see how few suffice."""
    two_fold: Flag = False
    """Whether the choosing and the reporting half also change places, and results are of both."""
    new_tokens: Count = 12
    """Tokens generated after each prompt for the open-ended measure."""


def check(config: Config) -> None:
    """Raises UserError if a behaviour, a file or a head does not exist, before anything is written."""
    info = check_behaviour_config(config)
    for name in config.behaviours:
        if name.endswith(".jsonl"):
            if not Path(name).is_file():
                raise UserError(f"no file {name}", "behaviours", "give a .jsonl file of pairs")
        elif name.endswith(".json"):
            config.task_source(name).check(info, "behaviours")
        elif not info.speaks_world:
            raise UserError(
                f"{name!r} is a behaviour of the world model", "behaviours", "give a .jsonl or .json file"
            )
        else:
            check_behaviour(name)
    slugs = [slug(name) for name in config.behaviours]
    if len(set(slugs)) < len(slugs):
        raise UserError("two behaviours have one name", "behaviours", "name each once")
    if max(config.layers, default=0) >= info.n_layers:
        raise UserError(
            f"the model has no layer {max(config.layers)}", "layers", f"use 0 to {info.n_layers - 1}"
        )
    for method in config.methods:
        if isinstance(method, FunctionMethod | InferenceTimeMethod):
            most = method.heads if isinstance(method, FunctionMethod) else max(method.heads)
            if most > info.n_layers * info.n_heads:
                raise UserError(
                    f"the model has {info.n_layers * info.n_heads} heads, not {most}",
                    "methods.heads",
                    "ask for fewer",
                )


def slug(behaviour: str) -> str:
    """Turns a behaviour's name into a part of a file's name."""
    path = Path(behaviour)
    names = {".jsonl": path.stem, ".json": f"task-{path.stem}"}
    return names.get(path.suffix, behaviour.replace("/", "-"))
