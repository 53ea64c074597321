"""Imports between modules: down the floors of CONTRIBUTING.md, in no circle, one way inside an experiment."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSIDE = {"config": 0, "page": 1, "job": 2}
"""The order in the folder of an experiment; its other modules stand anywhere between."""


@cache
def modules() -> dict[str, Path]:
    """All modules of the repository by name; a package is its `__init__`."""
    files = (file for root in ("interp", "saes", "experiments") for file in (ROOT / root).rglob("*.py"))
    named = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in named.items()}


@cache
def imports() -> dict[str, set[str]]:
    """What each module imports of the others, also inside functions and for types alone."""
    return {name: set(_imported(name, file)) for name, file in modules().items()}


def _imported(name: str, file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            own = name.startswith("experiments.")
            assert own or not node.level, f"{name} line {node.lineno}: an import says the whole name"
            around = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
            source = [*around[: len(around) + 1 - node.level], node.module] if node.level else [node.module]
            found = [".".join(filter(None, [*source, alias.name])) for alias in node.names]
        else:
            continue
        for target in found:
            while target and target not in modules():
                target = target.rpartition(".")[0]
            if target and target != name:
                yield target


@cache
def floors() -> list[list[str]]:
    """The floors that CONTRIBUTING.md lists, from the top."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("Imports point down")[2].partition("): ")[2]
    return [re.findall(r"`([\w.]+)`", floor) for floor in text.partition(". ")[0].split("→")]


@cache
def floor(module: str) -> int:
    """How many floors are above that of a module, which is named there or is part of a package that is."""
    for place, names in enumerate(floors()):
        if module in names:
            return place
    package = module.rpartition(".")[0]
    return floor(package) if package not in ("", "interp") else -1  # the face is not the floor of its parts


def test_every_module_lies_on_a_floor() -> None:
    assert [name for name in modules() if floor(name) < 0] == []
    assert [name for names in floors() for name in names if name not in modules()] == []


def test_no_import_points_up() -> None:
    up = [
        f"{name} -> {other}"
        for name, found in imports().items()
        for other in found
        if floor(other) < floor(name)
    ]
    assert up == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    # a package's own face may import its parts: a part stands below the package it is in
    graph = {
        name: {one for one in found if not name.startswith(f"{one}.")} for name, found in imports().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("folder", ["experiments", "benchmarks"])
def test_what_a_wheel_has_inside_interp_is_imported_there_by_relative_names(folder: str) -> None:
    whole = re.compile(rf"^\s*(from|import) {folder}\b", re.MULTILINE)
    files = sorted((ROOT / folder).rglob("*.py"))
    assert [str(file) for file in files if whole.search(file.read_text())] == []


def test_an_experiment_imports_its_own_folder_one_way_and_of_others_what_is_common() -> None:
    wrong = []
    for name, found in imports().items():
        room, _, own = name.removeprefix("experiments.").partition(".")
        for other in found if name.startswith("experiments.") else ():
            of, _, part = other.removeprefix("experiments.").partition(".")
            if not other.startswith("experiments."):
                continue
            up = of == room and INSIDE.get(part, 0) > INSIDE.get(own, 9)
            if up or of not in (room, "common"):
                wrong.append(f"{name} -> {other}")
    assert wrong == []
