"""The text that comes with CPython: its documentation topics and the standard library's sources."""

import importlib.util
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from interp.errors import UserError

# Tables, generated code, other people's trees, and what distributions leave out or package apart.
LEFT_OUT = frozenset(
    {
        "encodings",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "distutils",
        "tkinter",
        "turtledemo",
        "test",
        "pydoc_data",
    }
)
_PRIVATE = re.compile(r"^_+(py_?)?")
TEST_FOLDERS = frozenset({"test", "tests", "__pycache__"})


@dataclass(frozen=True)
class Source:
    """One topic or one module: `owner` is the topic's name or the top-level module's without `_` or `_py`."""

    kind: str
    name: str
    owner: str
    text: str


def check_python_texts() -> None:
    """Raises UserError if this Python carries no topics or no sources; reads none of them."""
    if importlib.util.find_spec("pydoc_data") is None:
        raise UserError("this Python carries no documentation topics", "pydoc_data.topics", _FIX)
    if not (_root() / "functools.py").is_file():
        raise UserError("this Python carries no sources of its standard library", str(_root()), _FIX)


def topics() -> Iterator[Source]:
    """The topics of `help()`, by name."""
    check_python_texts()
    from pydoc_data.topics import topics as texts

    for name in sorted(texts):
        yield Source("topic", name, name, texts[name])


def modules() -> Iterator[Source]:
    """The sources of the standard library, by path; tests, tables and third-party code are left out."""
    check_python_texts()
    root = _root()
    for path in sorted(_paths(root)):
        parts = path.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        with tokenize.open(root / path) as file:
            yield Source("module", name, _PRIVATE.sub("", parts[0]), file.read())


def _root() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _paths(root: Path) -> Iterator[Path]:
    """Paths of the sources of the wanted top-level modules, relative to `root`."""
    for name in sys.stdlib_module_names - LEFT_OUT:
        if not name.startswith("_sysconfigdata"):
            for path in (root / f"{name}.py", *(root / name).rglob("*.py")):
                relative = path.relative_to(root)
                if path.is_file() and not TEST_FOLDERS.intersection(relative.parts):
                    yield relative


_FIX = "use a CPython with its standard library as source files"
