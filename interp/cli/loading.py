"""Loads an experiment and its config, and checks the config before anything runs."""

import difflib
import importlib
import types
import typing
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from interp.cli.config_file import ConfigSource, read_config_file
from interp.cli.estimate import check_memory
from interp.cli.shipped import find_config, run_name, shipped_module
from interp.config import ExperimentConfig
from interp.errors import UserError
from interp.fields import MOST_PROBLEMS, problems_of, sections, told
from interp.track.folder import check_run_name
from interp.track.run import Run

experiments = importlib.import_module(shipped_module("experiments"))


@dataclass(frozen=True)
class Experiment:
    """An experiment by its config module; its job is imported only when it runs."""

    name: str
    purpose: str
    config_model: type[ExperimentConfig]
    own_check: Callable[[Any], None]

    def run(self, config: ExperimentConfig, run: Run) -> None:
        """Does the steps that are not done yet; their results are in the run."""
        module = _module(self.name)
        if hasattr(module, "__path__"):
            job = _module(f"{self.name}.job").Job(config, run)
            with getattr(job, "opened", nullcontext()):
                job.steps()
        else:
            module.run(config, run)

    def check(self, config: ExperimentConfig) -> None:
        """Checks what types cannot, before anything is written.

        Raises:
            UserError: as the experiment's own check; a device is missing; the machine has too little memory.
        """
        self.own_check(config)
        for key, section in sections(config):
            if isinstance(device := getattr(section, "device", None), str):
                from interp.device import usable_device  # imported here, as torch takes seconds

                usable_device(device, f"{key}.device")
        check_memory(config)


def load_experiment(name: str, source: ConfigSource) -> Experiment:
    """Import the experiment `name`.

    Raises:
        UserError: there is no such experiment; names the nearest and all valid ones.
    """
    known = experiments.names()
    if name not in known:
        raise UserError(
            f"there is no experiment {name!r}",
            source.place("experiment"),
            _suggest(name, known, "experiments"),
        )
    module = _module(name)
    if hasattr(module, "__path__"):
        module = _module(f"{name}.config")
    purpose = (module.__doc__ or "").strip().split("\n")[0]
    return Experiment(name, purpose, module.Config, getattr(module, "check", lambda config: None))


def _module(name: str) -> Any:
    return importlib.import_module(f"{experiments.__name__}.{name}")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Experiment, ExperimentConfig]:
    """Read a YAML config with its `extends`, apply `key.sub=value` overrides, check it.

    Returns the experiment and its config; nothing has run and nothing has been written.

    Raises:
        UserError: missing file, bad YAML, circular `extends`, unknown experiment, misspelt key, wrong type.
    """
    source = read_config_file(find_config(path))
    for override in overrides:
        source.override(override)
    name = source.values.get("experiment")
    if not isinstance(name, str):
        raise UserError(
            "the key `experiment` is missing" if name is None else "`experiment` must be a name",
            source.place("experiment"),
            f"add `experiment: NAME` with one of: {', '.join(experiments.names())}",
        )
    experiment = load_experiment(name, source)
    try:
        config = experiment.config_model.model_validate({"name": run_name(source.file), **source.values})
    except ValidationError as error:
        raise _explained(error, experiment.config_model, source) from None
    check_run_name(config.name, source.place("name"))
    return experiment, config


def _explained(error: ValidationError, model: type[BaseModel], source: ConfigSource) -> UserError:
    """Make one message of everything pydantic found: first the dotted key, then what would be valid there."""
    things, places, fixes = [], [], []
    problems = problems_of(error)
    for problem in problems[:MOST_PROBLEMS]:
        location = _keys_only(problem["loc"], source.values)
        key = ".".join(map(str, location))
        parent = ".".join(map(str, location[:-1]))
        if problem["type"] == "extra_forbidden":
            valid = list(_fields_at(model, location[:-1]))
            things.append(f"`{key}` is not a known key")
            fixes.append(_suggest(str(location[-1]), valid, f"keys of `{parent}`" if parent else "keys"))
        elif problem["type"] == "missing":
            things.append(f"the key `{key}` is missing")
            fixes.append(f"add `{key}`")
        else:
            things.append(f"`{key}` {told(problem)}" if key else told(problem))
            fixes.append(f"give `{key}` a value of that kind" if key else "see above")
        places.append(source.place(key))
    if len(problems) > MOST_PROBLEMS:
        things.append(f"and {len(problems) - MOST_PROBLEMS} more")
    return UserError("; ".join(things), "; ".join(dict.fromkeys(places)), "; ".join(dict.fromkeys(fixes)))


def _keys_only(location: tuple[int | str, ...], values: Any) -> list[int | str]:
    """Drop what pydantic adds to a location to say which member of a union it tried."""
    keys: list[int | str] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        inside = part in values if isinstance(values, dict) else _has_item(values, part)
        if inside:
            values = values[part]
        elif not (last and isinstance(values, dict)):
            continue
        keys.append(part)
    return keys


def _has_item(values: Any, part: int | str) -> bool:
    return isinstance(values, list) and isinstance(part, int) and part < len(values)


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> dict[str, None]:
    """Return the valid keys of the section at `location`, in their order, of every member of a union."""
    found: list[Any] = [model]
    for part in location:
        inner: list[Any] = []
        for kind in found:
            if part in kind.model_fields:
                inner += _models_in(kind.model_fields[part].annotation)
            else:
                inner.append(kind)
        found = inner
    return {name: None for kind in found for name in kind.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]


def _suggest(name: str, valid: Sequence[str], what: str) -> str:
    near = difflib.get_close_matches(name, valid, n=3, cutoff=0.6)
    question = f"did you mean {' or '.join(f'`{word}`' for word in near)}? " if near else ""
    return f"{question}valid {what}: {', '.join(valid) or 'none'}"
