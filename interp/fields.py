"""The vocabulary of configs: what a section is, and which values its fields take.

`true` and text are not accepted as numbers, except `1e-4` and `1e3`, which YAML reads as text. Numbers are
finite, and of a size that single precision can work with; how much memory a whole config takes is told by
its stages (`interp.config`). Text holds no control characters and no lone surrogates.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from interp.cost import Stage, gigabytes
from interp.errors import UserError, escaped, quoted, similar_names

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _ModelMetaclass
    from pydantic_core import ErrorDetails
else:
    _ModelMetaclass = type(BaseModel)

_SCIENTIFIC = re.compile(r"[-+]?[0-9]{1,20}(\.[0-9]{0,20})?[eE][-+]?[0-9]{1,3}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_SHIPPED = "interp:"
_DATA = Path(__file__).resolve().parent / "data"
LONGEST_NAME = 100
"""Characters of the name of a run or a file; longer file names that contain it must fit 255 bytes."""
LONGEST_LINE = LONGEST_PATH = 1_000
MOST = 1_000_000
"""The most of anything that is kept as single objects; rows, steps and tokens may be more."""

SMALLEST = 1e-12
"""The smallest number above zero: its square is not 0 in single precision."""
MOST_PROBLEMS = 10
"""The most problems that one message reports."""

Item = TypeVar("Item")


def told(problem: "ErrorDetails", hidden: bool = False) -> str:
    """Pydantic's message on one value, and the value unless `hidden`."""
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("Tuple ")
    got = problem["input"]
    shown = problem["type"] not in ("missing", "extra_forbidden") and not hidden
    shown = shown and not isinstance(got, dict | list | tuple | BaseModel)
    return f"{message} (it is {quoted(got)})" if shown else message


def problems_of(error: ValidationError) -> "list[ErrorDetails]":
    """Pydantic's errors; a list with wrong items is not reported as too short as well."""
    found = error.errors(include_url=False)
    inside = {one["loc"][:end] for one in found for end in range(len(one["loc"]))}
    return [one for one in found if one["type"] != "too_short" or one["loc"] not in inside]


class _Explaining(_ModelMetaclass):
    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            problems = problems_of(error)[:MOST_PROBLEMS]
            hidden = bool(cls.__dict__["model_config"].get("hide_input_in_errors"))
            places = (".".join(map(str, problem["loc"])) for problem in problems)
            said = [f"`{key}` {told(one, hidden)}" for key, one in zip(places, problems, strict=True)]
            raise UserError("; ".join(said), cls.__name__, "give values that its fields take") from None


class Section(BaseModel, metaclass=_Explaining):
    """A part of a config: unknown keys are refused, values never change, docstrings describe the fields.

    Raises:
        UserError: a value that is passed in Python is not valid for its field.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )

    def stage(self) -> Stage | None:
        """The memory that its values alone make a run hold, whatever the model; None if that is little."""
        return None


def sections(value: Any, key: str = "") -> Iterator[tuple[str, Section]]:
    """Yields every section of a config, itself included, with its dotted key."""
    if isinstance(value, Section):
        yield key, value
        inner: Iterable[tuple[Any, Any]] = value
    elif isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, tuple | list):
        inner = enumerate(value)
    else:
        return
    for name, one in inner:
        yield from sections(one, f"{key}.{name}" if key else str(name))


def _number(value: Any, kind: str) -> Any:
    if isinstance(value, str) and _SCIENTIFIC.fullmatch(value):
        return float(value)
    if isinstance(value, bool | str | bytes):
        raise PydanticKnownError(kind)  # type: ignore[arg-type]
    return value


def _for_int(value: Any) -> Any:
    return _number(value, "int_type")


def _for_float(value: Any) -> Any:
    return _number(value, "float_type")


_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kMGT]?B)")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return _for_int(value)
    if not (found := _SIZE.fullmatch(value.strip())):
        raise PydanticCustomError("size", "should be a number of bytes, such as 500 MB or 2 GB")
    return round(float(found[1]) * _UNITS[found[2]])


def _at_most(most: int, thing: str, size: int) -> AfterValidator:
    """Allows at most so many; the message says how much memory more would take at `size` bytes each."""

    def check(value: int) -> int:
        if value > most:
            memory = gigabytes(min(value, 10**30) * size)
            said = f"should be at most {most:,}: so many {thing} alone take {memory}"
            raise PydanticCustomError("too_many", "{said}", {"said": said})
        return value

    return AfterValidator(check)


def _not_vanishing(value: float | int) -> float | int:
    if value < SMALLEST:
        raise PydanticCustomError("vanishing", "should be at least {least}", {"least": f"{SMALLEST:g}"})
    return value


_Int = Annotated[int, BeforeValidator(_for_int)]
_Kept = Annotated[_Int, _at_most(MOST, "things of 1 kB", 1000)]
_Float = Annotated[float, BeforeValidator(_for_float)]

Seed = Annotated[_Int, Field(ge=0, le=2**32 - 1)]
"""Seed of a random generator: 0 to 2^32 - 1, which every library accepts."""
CountOrZero = Annotated[_Kept, Field(ge=0)]
"""A number of things; may be zero."""
Count = Annotated[_Kept, Field(ge=1)]
"""A number of things, at least one."""
Several = Annotated[_Kept, Field(ge=2)]
"""A number of things, at least two."""
Extent = Annotated[_Int, _at_most(1000 * MOST, "numbers of 4 bytes", 4), Field(ge=1)]
"""A size, such as rows of a tensor or documents of a corpus, at least one."""
Steps = Annotated[_Int, Field(ge=1, le=1000 * MOST)]
"""Steps of a training, at least one; a thousand million of a millisecond take twelve days."""
StepsOrZero = Annotated[_Int, Field(ge=0, le=1000 * MOST)]
"""Steps of a training; may be zero."""
Tokens = Annotated[_Int, Field(ge=1, le=1_000_000 * MOST)]
"""A number of tokens that are read but not all kept, at least one."""
Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=1, le=10**15)]
"""A size of what is kept: a number of bytes, or a number with a unit, such as 500 MB or 2 GB (1e9 bytes)."""
Offset = Annotated[_Int, Field(ge=-MOST, le=MOST)]
"""A position counted from the start, or from the end if negative."""
Layer = Annotated[_Int, Field(ge=0, le=100_000)]
"""A layer, counted from 0."""
LayerOrEmbedding = Annotated[_Int, Field(ge=-1, le=100_000)]
"""A layer, counted from 0; -1 is the embedding."""
TokenId = Annotated[int, Strict(), Field(ge=0, le=2**31 - 1)]
"""A token's number in a vocabulary."""

Finite = Annotated[_Float, Field(ge=-1e12, le=1e12)]
"""A number, neither NaN nor infinite."""
Positive = Annotated[_Float, Field(gt=0, le=1e12), AfterValidator(_not_vanishing)]
"""A number above zero, and not below 1e-12."""
NotNegative = Annotated[_Float, Field(ge=0, le=1e12)]
"""A number of at least zero."""
Fraction = Annotated[_Float, Field(ge=0, le=1)]
"""A share: 0 to 1, both included."""
PositiveFraction = Annotated[_Float, Field(gt=0, le=1), AfterValidator(_not_vanishing)]
"""A share above 0, at most 1."""
OpenFraction = Annotated[_Float, Field(gt=0, lt=1), AfterValidator(_not_vanishing)]
"""A share above 0 and below 1."""
Auroc = Annotated[_Float, Field(gt=0.5, le=1)]
"""An area under the ROC curve that is better than chance."""

Flag = Annotated[bool, Strict()]
"""true or false; neither 1 or 0 nor text."""


def _lines(value: str) -> str:
    if escaped(value) != value:
        raise PydanticCustomError("control_character", "should have no control characters")
    return value


def one_line(value: str) -> str:
    """Checks that `value` is one line of text that a terminal and a table can show, and returns it.

    Raises:
        ValueError: it is not, or is longer than 1,000 characters.
    """
    if len(value) > LONGEST_LINE:
        raise PydanticCustomError(
            "line_long", "should have at most {most} characters", {"most": LONGEST_LINE}
        )
    if "\n" in value or "\t" in value:
        raise PydanticCustomError("one_line", "should be one line without tabs")
    return _lines(value)


def check_name(value: str) -> str:
    """Checks that `value` can be the name of a folder on every file system, and returns it.

    Raises:
        ValueError: it cannot.
    """
    if not _PLAIN_NAME.fullmatch(value) or _DEVICE_NAMES.fullmatch(value):
        raise ValueError("should be letters, digits, `-`, `_` and `.` (neither first nor last)")
    if len(value) > LONGEST_NAME:
        raise ValueError(f"should have at most {LONGEST_NAME} characters")
    return value


def _path(value: Any) -> Any:
    text = str(value) if isinstance(value, Path) else value
    if not isinstance(text, str):
        raise PydanticCustomError("path_type", "should be a path")
    if not text.strip():
        raise PydanticCustomError("path_empty", "should be a path, not an empty text")
    if len(text) > LONGEST_PATH or any(len(part.encode(errors="replace")) > 255 for part in text.split("/")):
        raise PydanticCustomError(
            "path_long",
            "should be a path of at most {most} characters, each part of at most 255 bytes",
            {"most": LONGEST_PATH},
        )
    one_line(text)
    return _shipped(text) if text.startswith(_SHIPPED) else value


def _shipped(text: str) -> str:
    path = (_DATA / text.removeprefix(_SHIPPED)).resolve()
    if not path.is_file() or not path.is_relative_to(_DATA):
        name = text.removeprefix(_SHIPPED)
        names = sorted(file.relative_to(_DATA).as_posix() for file in _DATA.rglob("*.*"))
        near = [one for one in names if name and one.startswith(name)] or similar_names(name, names) or names
        raise PydanticCustomError(
            "path_shipped",
            "names no file that comes with interp; there are {names}",
            {"names": ", ".join(_SHIPPED + one for one in near)},
        )
    return str(path)


def _written(value: Path | str) -> str:
    path = Path(value)
    return _SHIPPED + path.relative_to(_DATA).as_posix() if path.is_relative_to(_DATA) else str(value)


Line = Annotated[str, AfterValidator(one_line)]
"""One line of text, perhaps empty."""
Word = Annotated[Line, Field(min_length=1)]
"""One line of text that is not empty: a word, a name that is looked up."""
Text = Annotated[str, StringConstraints(max_length=100_000), AfterValidator(_lines)]
"""Text of any number of lines."""
Name = Annotated[str, AfterValidator(check_name)]
"""A name that can be a folder's: letters, digits, `-`, `_` and `.`."""
FilePath = Annotated[Path, BeforeValidator(_path), PlainSerializer(_written, str, when_used="json")]
"""A path in a valid form; its reader checks that it exists. `interp:NAME` is a file of `interp/data`."""
PathText = Annotated[str, BeforeValidator(_path), PlainSerializer(_written, str, when_used="json")]
"""A path, or a name that stands for one; `interp:NAME` is a file of `interp/data`."""
Device = Annotated[str, StringConstraints(pattern=r"^(cpu|(cuda|mps)(:[0-9]{1,3})?)$")]
"""Where tensors are: cpu, cuda, cuda:1, mps."""


def seed_after(seed: int, places: int) -> int:
    """The seed `places` after another one; it wraps around to 0, so that it is a `Seed`, too."""
    return (seed + places) % 2**32


def taken(kind: Any, value: Any, place: str) -> Any:
    """Validates a value from a function's argument or the command line as a kind of field, and returns it.

    Raises:
        UserError: it is not of that kind; `place` is the argument's name.
    """
    plain = value.item() if hasattr(value, "item") else value  # numpy's and torch's numbers
    try:
        return TypeAdapter(kind).validate_python(plain)
    except ValidationError as error:
        said = told(error.errors(include_url=False)[0])
        raise UserError(f"{place} {said}", place, "give a value of that kind") from None


Listed = Annotated[tuple[Item, ...], Field(max_length=10_000)]
"""A list, perhaps empty."""
NonEmpty = Annotated[tuple[Item, ...], Field(min_length=1, max_length=10_000)]
"""A list of at least one."""
