"""The vocabulary of configs, that every field is of it, and what its types take and refuse."""

import math
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import experiments
from interp import fields
from interp.cli.config_file import ConfigSource
from interp.cli.loading import load_experiment
from interp.errors import UserError
from interp.fields import Section, check_name
from interp.llm.endpoint import Endpoint


def models(model: type[BaseModel], found: dict[type[BaseModel], None]) -> dict[type[BaseModel], None]:
    """`model` and all that its fields are made of."""

    def inside(hint: Any) -> None:
        if typing.get_args(hint):
            for part in typing.get_args(hint):
                inside(part)
        elif isinstance(hint, type) and issubclass(hint, BaseModel) and hint not in found:
            models(hint, found)

    found[model] = None
    for hint in typing.get_type_hints(model, include_extras=True).values():
        inside(hint)
    return found


def bare(hint: Any, meta: tuple[Any, ...] = ()) -> list[Any]:
    """The parts of a type that bound nothing."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return bare(parts[0], (*meta, *parts[1:]))
    if origin in (typing.Union, types.UnionType, dict):
        return [one for part in parts for one in bare(part)]
    if origin is tuple:
        unbounded = [hint] if parts[-1] is Ellipsis and not meta else []
        return unbounded + [one for part in parts for one in bare(part)]
    return [hint] if hint in (int, float, str, bool, Path) and not meta else []


def test_every_field_of_every_config_is_of_the_vocabulary() -> None:
    found: dict[type[BaseModel], None] = {}
    for name in experiments.names():
        models(load_experiment(name, ConfigSource(Path("x"), {})).config_model, found)
    assert len(found) > 100
    for model in found:
        assert issubclass(model, Section), f"{model} is no Section"
        hints = typing.get_type_hints(model, include_extras=True)
        for name, field in model.model_fields.items():
            assert not bare(hints[name]), f"{model.__name__}.{name} is bounded by nothing: {hints[name]}"
            documented = typing.get_origin(field.annotation) is typing.Literal or field.description
            assert documented, f"{model.__name__}.{name} has no docstring"


def takes(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value)


def refuses(kind: Any, value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        takes(kind, value)
    return str(caught.value)


NUMBERS = (
    *(fields.Finite, fields.Positive, fields.NotNegative, fields.Fraction, fields.Seed, fields.Count),
    *(fields.CountOrZero, fields.Several, fields.Extent, fields.Steps, fields.Tokens, fields.Layer),
)


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("value", [True, False, "3", "nan", "inf", b"1", math.nan, math.inf, -math.inf, 1e300,
                                   10**400, -(10**400), None, [], "1e999"])  # fmt: skip
def test_what_is_no_number_of_a_size_to_work_with_is_none(kind: Any, value: Any) -> None:
    refuses(kind, value)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        (fields.Seed, 0, 2**32 - 1),
        (fields.CountOrZero, 0, 10**6),
        (fields.Count, 1, 10**6),
        (fields.Several, 2, 10**6),
        (fields.Extent, 1, 10**9),
        (fields.Layer, 0, 10**5),
    ],
)
def test_whole_numbers_end_where_they_say(kind: Any, least: int, most: int) -> None:
    assert takes(kind, least) == least and takes(kind, most) == most
    refuses(kind, least - 1)
    refuses(kind, most + 1)
    refuses(kind, 2.5)


def test_what_yaml_leaves_as_text_is_the_number_that_it_looks_like() -> None:
    assert takes(fields.Count, "1e3") == 1000 and takes(fields.Count, 1e3) == 1000
    assert takes(fields.Positive, "1e-4") == 1e-4 and takes(fields.Finite, "-2.5E+3") == -2500
    refuses(fields.Count, "1e-3")


def test_too_many_is_said_with_the_memory_it_takes() -> None:
    assert "400.0 GB" in refuses(fields.Extent, 10**11)
    assert "1e+03 TB" in refuses(fields.Count, 10**12)


@pytest.mark.parametrize("value", [1, 0, 1.0, "true", "yes", None])
def test_a_flag_is_true_or_false(value: Any) -> None:
    assert takes(fields.Flag, True) is True
    refuses(fields.Flag, value)


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\r", "\x9b", "\ud800", "\u202e"])
def test_text_has_no_control_characters(character: str) -> None:
    for kind in (fields.Text, fields.Line, fields.Word, fields.FilePath, fields.PathText, fields.Name):
        refuses(kind, f"a{character}b")
    assert takes(fields.Text, "a\n\tb") == "a\n\tb"
    refuses(fields.Line, "a\nb")


def test_a_path_is_one_that_can_be() -> None:
    assert takes(fields.FilePath, "a/b.txt") == Path("a/b.txt")
    for value in ("", " ", "x" * 256, "é" * 128, "/".join(["ab"] * 400), 3, True, None):
        refuses(fields.FilePath, value)


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "x" * 100, "0"])
def test_names_that_can_be_a_folders(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a.", ".a", "-a", "a/b", "a\\b", "a b", "a\n", "x" * 101, "nul", "CON.txt", "ä", "a\x00"],
)
def test_names_that_cannot(name: str) -> None:
    with pytest.raises(ValueError):
        check_name(name)


def test_lists_that_need_one_have_one() -> None:
    assert takes(fields.NonEmpty[fields.Count], [1]) == (1,)
    refuses(fields.NonEmpty[fields.Count], [])
    refuses(fields.NonEmpty[fields.Count], [-1])
    assert takes(fields.Listed[fields.Count], []) == ()


def test_from_python_a_value_that_cannot_be_is_a_user_error() -> None:
    class Part(Section):
        """A part."""

        count: fields.Count = 1
        """How many."""

    with pytest.raises(UserError, match=r"`count` should be greater than or equal to 1"):
        Part(count=0)
    with pytest.raises(UserError, match="`cuont` Extra inputs are not permitted") as caught:
        Part(cuont="a key, perhaps")
    assert "perhaps" not in str(caught.value)


def test_what_was_given_to_an_endpoint_is_not_repeated() -> None:
    with pytest.raises(UserError, match="`model` should be a valid string") as caught:
        Endpoint(model=["sk-secret"], concurrency="sk-secret")
    assert "`concurrency`" in caught.value.thing and "secret" not in str(caught.value)


def test_seeds_that_follow_the_last_are_seeds() -> None:
    assert fields.seed_after(7, 2) == 9
    assert takes(fields.Seed, fields.seed_after(2**32 - 1, 1)) == 0


def test_a_list_of_wrong_items_is_not_called_too_short_as_well() -> None:
    class Ranks(Section):
        ranks: fields.NonEmpty[fields.Count]

    with pytest.raises(UserError) as caught:
        Ranks(ranks=(-1, 2))
    assert "ranks.0" in caught.value.thing and "item" not in caught.value.thing
    with pytest.raises(UserError, match="at least 1 item"):
        Ranks(ranks=())


@pytest.mark.parametrize("kind", [fields.FilePath, fields.PathText])
def test_a_shipped_file_is_named_without_the_place_of_the_installation(kind: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    found = adapter.validate_python("interp:tasks/antonym.json")
    assert Path(found).is_file()
    assert adapter.dump_python(found, mode="json") == "interp:tasks/antonym.json"
    assert adapter.dump_python(adapter.validate_python("a/b.json"), mode="json") == "a/b.json"
    for wrong in ("interp:", "interp:tasks", "interp:tasks/antonim.json", "interp:../errors.py"):
        with pytest.raises(ValidationError, match=r"there are .*interp:tasks/antonym.json"):
            adapter.validate_python(wrong)
    with pytest.raises(ValidationError, match=r"there are interp:prompts/beginnings\.txt"):
        adapter.validate_python("interp:prompts/begining.txt")
