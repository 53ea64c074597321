"""Where the pairs of a behaviour come from: the bundled ones, or a file of your own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from interp.bundled.gemma import pairs as gemma
from interp.bundled.world import pairs as world
from interp.circuits.pairs import Metric, Pair, Pairs, read_pairs
from interp.errors import UserError
from interp.fields import FilePath, Name, NonEmpty, Section, Word
from interp.lenses.item_source import ItemFile, WorldItems
from interp.subject.folder import SubjectInfo
from interp.subject.subject import Subject

GEMMA_VOCABULARY = 262_144


class WorldPairs(WorldItems):
    """Behaviours of the bundled world."""

    names: NonEmpty[Word] = ("agreement", "capital")
    """Names as in `interp.bundled.world.pairs.pairs`: agreement, copying, capital, two_hop, refusal,
    number."""

    def check(self, model: SubjectInfo, field: str) -> None:
        """Raises UserError if a name is not known, or the model has another vocabulary."""
        _check_names(self.names, world.BEHAVIOURS, field)
        super().check(model, field)

    def open(self, most: int, seed: int) -> dict[str, list[Pair]]:
        """So many pairs of each behaviour, by its name.

        Raises:
            UserError: a behaviour has fewer pairs.
        """
        return {name: [Pair(**one) for one in world.pairs(name, most, seed)] for name in self.names}


class GemmaPairs(Section):
    """Behaviours of Gemma 3 270M."""

    kind: Literal["gemma"] = "gemma"
    names: NonEmpty[Word] = ("agreement", "capital")
    """Names as in `interp.bundled.gemma.pairs.pairs`: agreement, capital, greater_than, indirect_object."""

    def check(self, model: SubjectInfo, field: str) -> None:
        """Raises UserError if a name is not known, or the model has another vocabulary."""
        _check_names(self.names, gemma.BEHAVIOURS, field)
        if model.d_vocab != GEMMA_VOCABULARY:
            what = f"{model.name} has another vocabulary than Gemma 3"
            raise UserError(what, f"{field}.kind", "give your own pairs as a file")

    def open(self, most: int, seed: int) -> dict[str, list[Pair]]:
        """So many pairs of each behaviour, by its name.

        Raises:
            UserError: a behaviour has fewer pairs.
        """
        return {name: [Pair(**one) for one in gemma.pairs(name, most, seed)] for name in self.names}


class PairFile(ItemFile):
    """Your own pairs."""

    path: FilePath
    """A .jsonl file; each line has "clean", "corrupted", "answer" and "distractor", and may have "group"
    (`interp.circuits.pairs.Pair`)."""
    name: Name = "behaviour"
    """What the behaviour is called."""

    def open(self, most: int, seed: int) -> dict[str, list[Pair]]:
        """At most so many of the pairs, drawn by the seed, by the behaviour's name.

        Raises:
            UserError: a line is no pair (says which).
        """
        found = read_pairs(self.path)
        return {self.name: Random(seed).sample(found, min(most, len(found)))}


PairSource = Annotated[WorldPairs | GemmaPairs | PairFile, Field(discriminator="kind")]


def pairs_of(subject: Subject, listed: Sequence[Pair], metric: Metric | None) -> Pairs:
    """Makes pairs of a behaviour; without a metric, answers that are sets are compared by probability.

    Raises:
        UserError: as `Pairs.of_lines`.
    """
    words = [words for pair in listed for words in (pair.answer, pair.distractor)]
    several = any(isinstance(one, list) and len(one) > 1 for one in words)
    return Pairs.of_lines(
        subject, listed, metric or ("probability_difference" if several else "logit_difference")
    )


@contextmanager
def naming(behaviour: str) -> Iterator[None]:
    """Puts a behaviour's name before the place of what is wrong with its pairs."""
    try:
        yield
    except UserError as error:
        raise UserError(error.thing, f"{behaviour}: {error.place}", error.fix) from None


def _check_names(names: Sequence[str], known: Sequence[str], field: str) -> None:
    """Raises UserError if there is no behaviour of one of the names, or one is named twice."""
    for name in names:
        if name not in known or names.count(name) > 1:
            what = f"there are no pairs for {name!r}" if name not in known else f"{name!r} stands twice"
            raise UserError(what, f"{field}.names", f"use {', '.join(known)}, each at most once")
