"""YAML from outside: its size is checked before aliases are expanded, and errors say line and column."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from interp.errors import UserError, quoted
from interp.json_text import LARGEST_WHOLE, SMALLEST_WHOLE
from interp.outside import MEBIBYTE, position, read_file, utf8

LARGEST_YAML = MEBIBYTE
DEEPEST = 50
MOST_NODES = 100_000
"""Keys and values when every alias is written out."""
_DATE = "tag:yaml.org,2002:timestamp"


def from_yaml(text: str, place: str, fix: str) -> Any:
    """Parses a YAML text into plain values (`yaml.SafeLoader`); dates stay text.

    Raises:
        UserError: as `yaml_nodes`, or a value does not fit its tag.
    """
    with _loading(text, place, fix) as loader:
        node = loader.get_single_node()
        return None if node is None else loader.construct_document(node)


def yaml_nodes(text: str, place: str, fix: str) -> yaml.Node | None:
    """The nodes of a YAML text, which know where each value stands; None if there is nothing in it.

    Raises:
        UserError: it is not YAML, larger than a mebibyte, deeper than 50 levels, of more than 100,000 keys
            and values with its aliases written out, or contains itself; says the line and the column.
    """
    with _loading(text, place, fix) as loader:
        return loader.get_single_node()


def read_yaml(path: Path, fix: str) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        UserError: as `read_file` and `from_yaml`, or it holds something else.
    """
    values = from_yaml(utf8(read_file(path, fix, LARGEST_YAML), str(path)), str(path), fix)
    if not isinstance(values, dict):
        raise UserError("the file is not a mapping of keys to values", str(path), fix)
    return values


@contextmanager
def _loading(text: str, place: str, fix: str) -> Iterator["_Loader"]:
    if len(text) > LARGEST_YAML:
        raise UserError(f"the YAML is larger than {LARGEST_YAML // MEBIBYTE} MiB", place, fix)
    try:
        loader = _Loader(text)
        try:
            yield loader
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{place}, line {mark.line + 1}, column {mark.column + 1}" if mark else place
        raise UserError(f"not valid YAML: {error.problem or error.context}", where, fix) from None
    except ReaderError as error:
        where = position(place, text[: error.position])
        character = quoted(text[error.position])
        raise UserError(f"not valid YAML: {character} may not stand in it", where, fix) from None


class _Loader(yaml.SafeLoader):
    """Checks depth and size while it composes, before aliases are expanded; gives errors their place."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [pair for pair in pairs if pair[0] != _DATE]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._heights: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        alias, mark = isinstance(event, yaml.AliasEvent), cast(yaml.Mark, event.start_mark)
        if self._depth >= DEEPEST:
            raise ComposerError(None, None, f"it is deeper than {DEEPEST} levels", mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if alias and id(node) not in self._sizes:
            raise ComposerError(None, None, "the YAML contains itself", mark)
        if not alias:
            self._measure(node)
        if self._depth + self._heights[id(node)] > DEEPEST:
            raise ComposerError(None, None, f"it is deeper than {DEEPEST} levels", mark)
        if self._sizes[id(node)] > MOST_NODES:
            raise ComposerError(
                None, None, f"with its aliases written out it has more than {MOST_NODES:,} values", mark
            )
        return node

    def _measure(self, node: yaml.Node) -> None:
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        self._sizes[id(node)] = 1 + sum(self._sizes[id(one)] for one in inner)
        self._heights[id(node)] = 1 + max((self._heights[id(one)] for one in inner), default=0)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
            raise self._refused(node) from None
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise ConstructorError(None, None, "half a character (a lone surrogate)", node.start_mark)
        if isinstance(value, int) and not SMALLEST_WHOLE <= value <= LARGEST_WHOLE:
            raise self._refused(node)
        return value

    @staticmethod
    def _refused(node: yaml.Node) -> ConstructorError:
        what = f"{quoted(node.value)} is" if isinstance(node, yaml.ScalarNode) else "this is"
        kind = {"int": "a whole number of at most 64 bits", "float": "a number"}.get(
            name := node.tag.rpartition(":")[2], f"a {name}"
        )
        return ConstructorError(None, None, f"{what} not {kind}", node.start_mark)
