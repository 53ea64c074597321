"""The rows that are written to a store and read from it, as plain values, with their validation."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from interp.errors import UserError, quoted
from interp.json_text import from_json, to_json
from interp.outside import whole_characters

Row = TypeVar("Row")


def kept(text: Any) -> Any:
    """A text as a store keeps it: NUL, which PostgreSQL does not take, becomes ␀, a lone surrogate �."""
    if not isinstance(text, str):
        return text
    return whole_characters(text)[0].replace("\0", "\N{SYMBOL FOR NULL}")


def _plain(values: Any) -> Any:
    """Values after a round trip through JSON; lone surrogates are replaced, and NUL stays."""
    try:
        return from_json(whole_characters(to_json(values, ensure_ascii=False))[0], "", "")
    except UserError as error:
        raise ValueError(error.thing) from None
    except TypeError:
        raise ValueError("should be JSON") from None


def _whole(number: Any) -> Any:
    """A whole number, also one that a table holds as 3.0 because others in its column are missing."""
    if isinstance(number, bool):
        raise ValueError("should be a whole number")
    return int(number) if isinstance(number, float) and number.is_integer() else number


Text = Annotated[str, BeforeValidator(kept), Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_whole), Field(strict=True, ge=-(2**31), lt=2**31)]
Count = Annotated[Whole, Field(ge=0)]
Provenance = Annotated[Mapping[str, Any], AfterValidator(_plain)]
Polarity = Annotated[Literal[1, -1], BeforeValidator(_whole)]
EXACTLY = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class SpaceRow:
    """A feature space of one subject; `provenance`: where it comes from (an SAE's folder, a mining run)."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACTLY

    subject: Text
    name: Text
    site: Text
    layer: Whole | None
    n_features: Count
    signed: Flag
    provenance: Provenance = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreRow:
    """One score of a description: its kind, scorer and split, with its interval and its null."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACTLY

    kind: Text
    scorer: Text
    split: Text
    value: Number | None
    low: Number | None = None
    high: Number | None = None
    null_mean: Number | None = None
    null_low: Number | None = None
    null_high: Number | None = None
    n: Count = 0
    failures: Count = 0


@dataclass(frozen=True)
class DescriptionRow:
    """A description; `chosen` marks the best of its feature and explainer, `interesting` None is unknown."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACTLY

    text: Text
    explainer: Text
    sample: Count = 0
    summary: Text = ""
    chosen: Flag = True
    interesting: Flag | None = None
    reason: Text = ""
    provenance: Provenance = field(default_factory=dict)
    scores: tuple[ScoreRow, ...] = ()


@dataclass(frozen=True)
class ExemplarRow:
    """A pointer to a window of text: its corpus, split and place, the feature's peak in it, and its band."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACTLY

    corpus: Text
    split: Text
    document: Count
    start: Count
    value: Number
    band: Text
    quantile: Number | None = None


@dataclass(frozen=True)
class FeatureRow:
    """One polarity of a feature with all that is known of it.

    `quantiles` maps probabilities, written as text, to quantiles of the activation in the polarity.
    """

    __pydantic_config__: ClassVar[ConfigDict] = EXACTLY

    space: Text
    feature_id: Count
    polarity: Polarity
    rate: Number | None = None
    quantiles: Mapping[Text, Number] = field(default_factory=dict)
    descriptions: tuple[DescriptionRow, ...] = ()
    exemplars: tuple[ExemplarRow, ...] = ()

    @property
    def key(self) -> str:
        """The feature's key, in the form of `FeatureRef.key`."""
        return f"{self.space}/{self.feature_id}{'+' if self.polarity > 0 else '-'}"


def key_parts(key: str) -> tuple[str, int, int] | None:
    """Space, id and polarity of a feature's key as `FeatureRow.key` writes it; None if it is no such key."""
    found = re.fullmatch(r"(.+)/([0-9]{1,9})([+-])", key)
    return None if found is None else (found[1], int(found[2]), 1 if found[3] == "+" else -1)


@dataclass(frozen=True)
class Contents:
    """Contents of a store, or to be put into one: spaces, and the features of each subject."""

    spaces: Sequence[SpaceRow]
    features: Mapping[str, Sequence[FeatureRow]]


def checked(kind: type[Row], values: Mapping[str, Any], place: str, fix: str) -> Row:
    """Makes a row of plain values.

    Raises:
        UserError: a value is missing, of another type or out of range, or there is no such field; says which.
    """
    try:
        row: Row = _validator(kind)(values)
        return row
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join(map(str, problem["loc"]))
        said = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if problem["type"] == "unexpected_keyword_argument":
            said = "is not known"
        elif problem["type"] == "missing":
            said = "is missing"
        else:
            said += f", and is {quoted(problem['input'])}"
        raise UserError(f"`{name}` {said[0].lower()}{said[1:]}", place, fix) from None
    except RecursionError:
        raise UserError("lists or objects are nested too deeply", place, fix) from None


def _validator(kind: type[Any]) -> Callable[[Any], Any]:
    if kind not in _VALIDATORS:
        _VALIDATORS[kind] = TypeAdapter(kind).validate_python
    return _VALIDATORS[kind]


_VALIDATORS: dict[type[Any], Callable[[Any], Any]] = {}
