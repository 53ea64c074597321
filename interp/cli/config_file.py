"""Config files as text: YAML with `extends:`, `key.sub=value` overrides, and where every key came from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from interp.errors import UserError, quoted, similar_names
from interp.outside import read_file, utf8
from interp.yaml_text import LARGEST_YAML, from_yaml, yaml_nodes

_FIX = "give a YAML text file"
SHORT = {"engine": "kind"}
"""Sections that may be written as one word, and the key that the word is the value of."""


@dataclass
class ConfigSource:
    """The values of a config, and the place where each dotted key was written."""

    file: Path
    values: dict[str, Any]
    places: dict[str, str] = field(default_factory=dict)

    def place(self, key: str) -> str:
        """Return where `key` or the nearest section around it was written: "file, line 3"."""
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return self.places.get(key, str(self.file))

    def override(self, text: str) -> None:
        """Apply one `key.sub=value` from the command line; the value is YAML, `a.0=1` sets an item of a list.

        Raises:
            UserError: no `=`, bad YAML, or a part of the key is not a mapping or a list.
        """
        place = f"command line: {text}"
        key, equals, value_text = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise UserError(
                f"`{text}` is not an override", "command line", "write key=value or key.sub=value"
            )
        value = from_yaml(value_text, place, "quote it: key='\"text\"'")
        at: Any = self.values
        for depth, part in enumerate(parts):
            last = depth == len(parts) - 1
            before = ".".join(parts[:depth])
            step: str | int = part
            if isinstance(at, list):
                if not part.isdecimal() or int(part) >= len(at):
                    raise UserError(
                        f"`{before}` is a list of {len(at)} and has no item `{part}`",
                        place,
                        f"use a number from 0 to {len(at) - 1}" if at else f"give the list: {before}=[...]",
                    )
                step = int(part)
            elif isinstance(at, str) and before in SHORT:
                at = self.values[before] = {SHORT[before]: at}
            elif not isinstance(at, dict):
                raise UserError(
                    f"`{before}` is {quoted(at)} and has no part `{part}`", place, f"set `{before}` itself"
                )
            if last:
                at[step] = value
            else:
                if isinstance(at, dict) and at.get(part) is None:
                    at[part] = {}
                at = at[step]
        self.places[".".join(parts)] = place


def read_config_file(path: Path, readers: tuple[Path, ...] = ()) -> ConfigSource:
    """Read a YAML mapping and lay it over the file its `extends` names, relative to itself.

    Mappings are merged key by key; everything else, lists too, is replaced. `readers` are the files
    that led here by `extends`.

    Raises:
        UserError: missing file, bad YAML, a key given twice, not a mapping, or files that extend each other.
    """
    if path.resolve() in [reader.resolve() for reader in readers]:
        chain = " -> ".join(map(str, (*readers, path)))
        raise UserError("config files extend each other in a circle", chain, "remove one of the `extends`")
    if not path.exists():
        near = similar_names(path.stem, [file.stem for file in path.parent.glob("*.yaml")])
        raise UserError(
            f"there is no config file {path}",
            f"`extends` in {readers[-1]}" if readers else str(path.absolute()),
            f"did you mean {' or '.join(str(path.with_stem(name)) for name in near)}?"
            if near
            else "write the path relative to the file that extends",
        )
    text = utf8(read_file(path, _FIX, LARGEST_YAML), str(path))
    values, node = from_yaml(text, str(path), _FIX), yaml_nodes(text, str(path), _FIX)
    if not isinstance(values, dict):
        raise UserError("a config is a mapping of keys to values", str(path), "begin with `experiment: NAME`")
    own = ConfigSource(path, values, {} if node is None else _places(node, path))
    parent = values.pop("extends", None)
    if parent is None:
        return own
    if not isinstance(parent, str):
        raise UserError("`extends` must be one file name", own.place("extends"), "extends: other.yaml")
    base = read_config_file(path.parent / parent, (*readers, path))
    return ConfigSource(path, _merged(base.values, values), base.places | own.places)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _places(node: yaml.Node, path: Path, prefix: str = "") -> dict[str, str]:
    """Return "file, line n" for every dotted key; refuses a key given twice, which YAML readers overlook."""
    found: dict[str, str] = {}
    if isinstance(node, yaml.MappingNode):
        pairs = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        pairs = [(str(index), item, item) for index, item in enumerate(node.value)]
    else:
        return found
    for name, where, value in pairs:
        key = prefix + name
        place = f"{path}, line {where.start_mark.line + 1}"
        if key in found and name != "<<":
            raise UserError(f"`{key}` is given twice", f"{found[key]} and {place}", "remove one of them")
        found |= {key: place} | _places(value, path, key + ".")
    return found
