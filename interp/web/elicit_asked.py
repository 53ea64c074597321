"""What the page Elicit may ask for: a behaviour, prompts to begin from, a way to search, and a budget."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from interp.elicit.config.behaviour import (
    BehaviourConfig,
    FeatureSource,
    LabelSource,
    RegexSource,
    VectorSource,
)
from interp.elicit.config.prompts import ListedSource, TemplatesSource
from interp.elicit.target import Frame
from interp.errors import UserError
from interp.fields import Count, CountOrZero, Finite, Flag, Line, NotNegative, Section, Seed, Text, Word

Kind = Literal["words", "pattern", "concept", "feature", "vector"]
INSIDE: tuple[Kind, ...] = ("feature", "vector")
"""The kinds that are read inside of the model."""
LEAST_PASSES, MOST_PASSES, MOST_PROMPTS, MOST_DRAWS = 100, 10_000, 500, 500
QUANTILE = 0.95
"""Of ordinary replies' readings: from there on a feature or a vector counts as shown."""
_SLOT = re.compile(r"\{(\w+)\}")


class Asked(Section):
    """A search, as the form has it."""

    kind: Kind = "words"
    """What shows the behaviour: words or a pattern in the reply, a concept of the world, a reading inside."""
    what: Annotated[Line, Field(max_length=500)]
    """The words with commas between, the expression, the concept, the feature's key or the vector's file."""
    at_least: Finite | None = None
    """The share of a concept's tokens, or the reading, from which on it shows; null: as the page says."""
    example: Line = ""
    """A reply that shows the behaviour, for searches that aim at one."""
    prompts: Text
    """A prompt on each line; with words in {slots}, templates."""
    slots: Text = ""
    """A slot on each line: its name, a colon, and its words with commas between."""
    investigator: Word = "random"
    """The way to search."""
    passes: Count = 500
    """The budget in passes of the model."""
    chat: Flag | None = None
    """Whether a prompt is a user's turn of a chat; null: if the model has a template."""
    new_tokens: Count = 16
    """The most tokens of a reply."""
    temperature: NotNegative = 0.0
    """0: the likeliest reply; 1: one that is drawn from the model."""
    seed: Seed = 0
    """Of everything that is drawn."""

    @property
    def name(self) -> str:
        """The behaviour in words."""
        says = {"words": "says", "pattern": "matches", "concept": "is about"}
        return f"{says.get(self.kind, 'represents')} {self.what}"

    @property
    def frame(self) -> Frame:
        """How the model is asked."""
        return Frame(chat=self.chat, new_tokens=self.new_tokens, temperature=self.temperature)


class More(Section):
    """A larger budget for a search that was made."""

    passes: Count


class OfTry(Section):
    """One try of a search, by its number."""

    number: CountOrZero


class Confirm(OfTry):
    """How many replies to it are drawn."""

    draws: Annotated[Count, Field(ge=2, le=MOST_DRAWS)] = 20


@contextmanager
def beside(field: str) -> Iterator[None]:
    """Within the block what is wrong is wrong with a field of the form, beside which it is told."""
    try:
        yield
    except UserError as error:
        raise UserError(error.thing, field, error.fix) from error


def prompt_source(asked: Asked) -> ListedSource | TemplatesSource:
    """The prompts of the form, as a config has them.

    Raises:
        UserError: there is none, there are too many, or a slot has no words or is written wrongly.
    """
    lines = _lines(asked.prompts)
    with beside("prompts"):
        if not lines:
            raise UserError("there is no prompt to begin from", "prompts", "write one on each line")
        if len(lines) > MOST_PROMPTS:
            raise UserError(
                f"{len(lines):,} prompts are too many", "prompts", f"use {MOST_PROMPTS}, or templates"
            )
    named = {name for line in lines for name in _SLOT.findall(line)}
    with beside("slots"):
        slots = dict(map(_slot, _lines(asked.slots)))
        if unused := sorted(slots.keys() - named):
            raise UserError(f"no prompt has the slot {{{unused[0]}}}", "slots", "write it in a prompt")
        if not named:
            return ListedSource(kind="listed", prompts=lines)
        made = TemplatesSource(kind="templates", templates=lines, slots=slots)
        made.open()
        return made


def behaviour_config(asked: Asked, vector: str = "") -> BehaviourConfig:
    """The behaviour of the form, as a config has it; `vector` is the path of its vector's file.

    Raises:
        UserError: nothing is said of what should show, or a value does not fit.
    """
    with beside("what"):
        if not asked.what.strip():
            raise UserError("nothing is said of what should show", "what", "write it")
        judge: RegexSource | LabelSource | FeatureSource | VectorSource
        match asked.kind:
            case "words":
                judge = RegexSource(kind="regex", pattern=words_pattern(asked.what))
            case "pattern":
                judge = RegexSource(kind="regex", pattern=asked.what)
            case "concept":
                share = {} if asked.at_least is None else {"share": asked.at_least}
                judge = LabelSource(kind="label", concept=asked.what, **share)
            case "feature":
                judge = FeatureSource(
                    kind="feature", feature=asked.what, threshold=asked.at_least, quantile=QUANTILE
                )
            case "vector":
                judge = VectorSource(
                    kind="vector", path=Path(vector), threshold=asked.at_least, quantile=QUANTILE
                )
    examples = (asked.example,) if asked.example else ()
    return BehaviourConfig(name=asked.name, words=asked.name, judge=judge, examples=examples)


def words_pattern(words: str) -> str:
    """The regular expression of any of some words, whole ones, with commas between them.

    Raises:
        UserError: there is no word.
    """
    parts = [re.escape(word.strip()) for word in words.split(",") if word.strip()]
    if not parts:
        raise UserError("there is no word", "what", "write one, or several with commas between them")
    return rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)"


def _slot(line: str) -> tuple[str, tuple[str, ...]]:
    name, colon, words = line.partition(":")
    name, found = name.strip().strip("{}"), tuple(word.strip() for word in words.split(","))
    if not colon or not re.fullmatch(r"\w+", name) or not any(found):
        raise UserError(f"{line[:60]!r} is no slot", "slots", "write NAME: word, word")
    return name, found


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())
