"""Mutants of configs, made of the pydantic models: every field, with what a hand or a stranger may write."""

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from pydantic import BaseModel

from interp.cli.loading import load_config
from interp.cli.shipped import config_folders, named_configs
from interp.config import ExperimentConfig

WRONG: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], [None], {"a": 1}, {"kind": "world"}, {"kind": "no such"}),
    *({1: 2}, {"": 0}),
    *(0, -1, 1, 2, 7, 1000, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1, 10**9),
    *(10**12, -(10**15)),
    *(0.0, -0.0, 0.5, 1.0, 1.5, -2.5, 5e-324, 1e-30, 1e38, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "x", "0", "3", "1e3", "1e-4", "1e999", "nan", "-inf", "true", "null", "2020-99-99"),
    *("world", "all"),
    *("resid_post.3", "resid_post.99", "mlp_post.0", "resid_post.99999999999999999999", "embed"),
    "resid_post.²",
    *("a\x00b", "\x1b[31mred", "a\r\nb", "\u202eabc", "tab\t", "é" * 300, "x" * 251, "x" * 100_000),
    "x/" * 3000,
    *("{", "{}", "{0}", "{question}", "{question} {answer}", "%s", "{question.__class__}{answer}", "[/red]"),
    *("..", ".", "/", "/dev/null", "/dev/zero", "/etc/passwd", "~", "../../x", "nul", "con.txt"),
    *("-x", "a.", ".a"),
    *("/etc/passwd/x.json", "no such.jsonl", "task/antonym", "task/", "task/../x", "cuda", "cuda:99", "meta"),
    *("http://user:pass@x/v1", "file:///etc/passwd", "postgresql://x:99999/y", "hub/name"),
    *("org/repo/id", "mps"),
    *([0] * 1000, [-1], [1, 1], ["x"], ["\x1b"], [float("nan")], [10**12], [{}], [[1]], [True]),
    *([""], ["a", 1]),
)  # fmt: skip
"""Values of every type, and the ends of what numbers, texts and paths are."""
NOT_YAML = (
    *("[", "{", "!!int x", "!!python/name:os.system", "&a [*a]", "*a", "9" * 5000, '"\\ud800"', "\ud800"),
    *("2020-99-99", "!!binary x", "!!set {a}", "1:60:60", ".nan", "0x", "0o99", "? :", "\x00"),
)
"""Texts that are no YAML, or that YAML makes something odd of."""
MORE = (".x", ".0", ".99", ".", "x", "\x1b", ".\x00", ".extends", ".kind", "." + "x" * 5000)
"""What is put after a key, to make one that does not exist."""


@dataclass(frozen=True)
class Mutant:
    """A config, its values as a file would have them, and overrides as a user would type them."""

    config: str
    values: dict[str, Any]
    overrides: tuple[str, ...]

    def write(self, folder: Path) -> Path:
        """The file."""
        path = folder / f"{self.config}.yaml"
        path.write_text(yaml.safe_dump(self.values), encoding="utf-8")
        return path


@dataclass(frozen=True)
class Shipped:
    """A config of the project: what its file says, the same with every default, and its model."""

    given: dict[str, Any]
    whole: dict[str, Any]
    model: type[ExperimentConfig]


def shipped_configs() -> dict[str, Shipped]:
    """Every config of the project, by name."""
    found = {}
    for folder in config_folders():
        for name, file in named_configs(folder).items():
            experiment, config = load_config(file)
            given = config.model_dump(mode="json", exclude_unset=True)
            found[name.replace("/", "-")] = Shipped(
                given, config.model_dump(mode="json"), experiment.config_model
            )
    return found


def keys_of(values: Any, prefix: str = "") -> dict[str, Any]:
    """Every dotted key with its value: sections, fields, and items of lists."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(values, dict):
        pairs = list(values.items())
    elif isinstance(values, list):
        pairs = list(enumerate(values))
    found = {}
    for name, value in pairs:
        key = f"{prefix}.{name}" if prefix else str(name)
        found |= {key: value, **keys_of(value, key)}
    return found


def ends_of(model: type[BaseModel]) -> list[Any]:
    """The ends of the ranges of all numbers in a config's model, and what lies just beyond."""
    found: dict[Any, None] = {}
    seen = set()

    def bounds(hint: Any) -> None:
        for part in typing.get_args(hint):
            bounds(part)
        for meta in (hint, *getattr(hint, "metadata", ())):
            for name in ("ge", "gt", "le", "lt", "min_length", "max_length"):
                end = getattr(meta, name, None)
                if isinstance(end, int | float):
                    step = 1 if isinstance(end, int) else abs(end) * 1e-9
                    found.update(dict.fromkeys((end, end - step, end + step)))
        model_like = isinstance(hint, type) and not typing.get_args(hint) and issubclass(hint, BaseModel)
        if model_like and hint not in seen:
            seen.add(hint)
            for field in hint.model_fields.values():
                for meta in (*field.metadata, field.annotation):
                    bounds(meta)

    bounds(model)
    return sorted(found)


def alike(value: Any, words: list[str]) -> st.SearchStrategy[Any]:
    """Other values of the same type, most of which could be."""
    match value:
        case bool():
            return st.booleans()
        case int():
            return st.integers(0, 20) | st.sampled_from((0, 1, value + 1, 2 * value, 2**32 - 1))
        case float():
            return st.sampled_from(
                (0.0, 0.01, 0.5, 0.99, 1.0, 2.0, value * 2, value / 2, -value, 1e-12, 1e12)
            )
        case str():
            return st.sampled_from(words)
        case list() if value:
            return st.lists(st.sampled_from(value), max_size=4)
        case dict() if value:
            return st.sampled_from(sorted(value)).map(
                lambda gone: {k: v for k, v in value.items() if k != gone}
            )
    return st.sampled_from((1, "x", "world", {}, [], 0.5))


def as_yaml(value: Any) -> str:
    """A value as one would type it after key=."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def mutants(configs: Mapping[str, Shipped]) -> st.SearchStrategy[Mutant]:
    """One or two keys of a config with other values; keys that do not exist, and texts that are no YAML."""
    ends = {name: ends_of(one.model) for name, one in configs.items()}
    keys = {name: keys_of(one.whole) for name, one in configs.items()}
    texts = {v for of in keys.values() for v in of.values() if isinstance(v, str) and len(v) < 80}
    words = sorted(texts)

    @st.composite
    def one(draw: st.DrawFn) -> Mutant:
        name = draw(st.sampled_from(sorted(configs)))
        values, overrides = dict(configs[name].given), []
        for _ in range(draw(st.sampled_from((1, 1, 2)))):
            key = draw(st.sampled_from(sorted(keys[name])))
            top = key.partition(".")[0]
            values[top] = configs[name].whole[top]
            odd = draw(st.integers(0, 19))
            if odd == 0:
                key += draw(st.sampled_from(MORE))
            if odd == 1:
                depth = draw(st.sampled_from((5, 49, 51, 3000)))
                overrides.append(f"{key}={'[' * depth}{']' * depth}")
            elif odd == 2:
                overrides.append(f"{key}={draw(st.sampled_from(NOT_YAML))}")
            elif odd < 12:
                overrides.append(f"{key}={as_yaml(draw(alike(keys[name].get(key), words)))}")
            else:
                numbers = st.sampled_from(ends[name]) | st.integers(-3, 70) | st.floats()
                other = st.sampled_from(WRONG) | numbers | st.text(max_size=20)
                overrides.append(f"{key}={as_yaml(draw(other))}")
        return Mutant(name, values, tuple(overrides))

    return one()
