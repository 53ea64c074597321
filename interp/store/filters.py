"""Conditions on descriptions, which compose with `&`, `|` and `~`.

A condition is a mask over the catalogue of a store (a row for each description), so that `and`, `or` and
`not` are exact, polarities included. Conditions on a prompt are given the subject's activations on it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from interp.errors import UserError, quoted, similar_names
from interp.store.store import Store

Mask = Bool[np.ndarray, " description"]
Side = tuple[str, int, int]
"""A feature's space, its id and its polarity."""


class Filter(ABC):
    """A condition on descriptions."""

    @abstractmethod
    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True for the rows of the catalogue that meet it."""

    def __and__(self, other: "Filter") -> "Filter":
        return And((self, other))

    def __or__(self, other: "Filter") -> "Filter":
        return Or((self, other))

    def __invert__(self) -> "Filter":
        return Not(self)


@dataclass(frozen=True)
class And(Filter):
    """All of the conditions; without any, everything."""

    parts: tuple[Filter, ...]

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True where every part is true."""
        found = np.ones(len(catalogue), dtype=np.bool_)
        for part in self.parts:
            found &= part.mask(store, catalogue)
        return found


@dataclass(frozen=True)
class Or(Filter):
    """At least one of the conditions; without any, nothing."""

    parts: tuple[Filter, ...]

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True where some part is true."""
        found = np.zeros(len(catalogue), dtype=np.bool_)
        for part in self.parts:
            found |= part.mask(store, catalogue)
        return found


@dataclass(frozen=True)
class Not(Filter):
    """The opposite of a condition."""

    part: Filter

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True where the part is false."""
        return ~self.part.mask(store, catalogue)


@dataclass(frozen=True)
class InSpace(Filter):
    """Features of these spaces."""

    names: tuple[str, ...]

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True for features of one of the spaces.

        Raises:
            UserError: the store has no such space.
        """
        known = {space.name for space in store.spaces()}
        for name in self.names:
            if name not in known:
                near = similar_names(name, known) or sorted(known)[:10]
                raise UserError(
                    f"the store has no space {name!r}",
                    store.where,
                    f"use {', '.join(near) or 'another store'}",
                )
        return catalogue["space"].isin(self.names).to_numpy(dtype=np.bool_)


@dataclass(frozen=True)
class InLayers(Filter):
    """Features of the layers from `first` to `last`."""

    first: int
    last: int

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True for features whose space's site is in one of the layers."""
        return catalogue["layer"].between(self.first, self.last).to_numpy(dtype=np.bool_)


@dataclass(frozen=True)
class OfPolarity(Filter):
    """One side of features: +1 or -1."""

    polarity: int

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True for features of this polarity."""
        return (catalogue["polarity"] == self.polarity).to_numpy(dtype=np.bool_)


@dataclass(frozen=True)
class ScoreBetween(Filter):
    """Descriptions whose score of a kind is in a range, ends included; those without that score fail."""

    kind: str
    low: float = -np.inf
    high: float = np.inf
    split: str = "report"

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True where the score is in the range.

        Raises:
            UserError: nothing has a score of this kind.
        """
        column = f"{self.kind} {self.split}"
        if column not in catalogue:
            plain = {"description", "subject", "space", "layer", "feature_id", "polarity"}
            known = [str(c) for c in catalogue if c not in plain | {"explainer", "chosen", "interesting"}]
            raise UserError(
                f"no description has the score {column!r}", store.where, f"use {', '.join(known) or 'none'}"
            )
        return catalogue[column].between(self.low, self.high).to_numpy(dtype=np.bool_)


@dataclass(frozen=True)
class Containing(Filter):
    """Descriptions that contain these words, in any case."""

    words: str

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True where the text or the summary contains the words."""
        found = list(store.containing(self.words))
        return catalogue["description"].isin(found).to_numpy(dtype=np.bool_)


@dataclass(frozen=True)
class Interesting(Filter):
    """Descriptions that were found interesting."""

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True where `interesting` is stored as true; unknown is false."""
        return catalogue["interesting"].fillna(False).to_numpy(dtype=np.bool_)


@dataclass(frozen=True)
class Among(Filter):
    """These features only; conditions on a prompt are built from it."""

    sides: frozenset[Side]

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True for these combinations of space, id and polarity."""
        rows = zip(catalogue["space"], catalogue["feature_id"], catalogue["polarity"], strict=True)
        return np.fromiter((row in self.sides for row in rows), dtype=np.bool_, count=len(catalogue))


@dataclass(frozen=True)
class BeyondQuantile(Filter):
    """Features that exceed their own quantile somewhere in a prompt.

    `activations` [position, feature] by space are of the prompt's positions that are asked about; `level` is
    a probability that quantiles were stored of, such as "0.9999".
    """

    activations: Mapping[str, Float[np.ndarray, "position _"]]
    level: str

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True where a feature exceeds its quantile at that level, in its polarity.

        Raises:
            UserError: no quantile of this level is stored.
        """
        found: set[Side] = set()
        levels: set[str] = set()
        for subject in catalogue["subject"].unique().tolist():
            for row in store.quantiles(subject):
                levels |= row.quantiles.keys()
                given = self.activations.get(row.space)
                if given is None or self.level not in row.quantiles:
                    continue
                if row.feature_id >= given.shape[1]:
                    raise UserError(
                        f"the space {row.space} has {given.shape[1]:,} features here, and the store "
                        f"describes number {row.feature_id:,} of it",
                        store.where,
                        "use the store of this model",
                    )
                peak = float((row.polarity * given[:, row.feature_id]).max(initial=-np.inf))
                if peak > row.quantiles[self.level]:
                    found.add((row.space, row.feature_id, row.polarity))
        if self.level not in levels:
            raise UserError(
                f"no quantile at {self.level} is stored", store.where, f"use {', '.join(sorted(levels))}"
            )
        return Among(frozenset(found)).mask(store, catalogue)


def most_attributed(table: pd.DataFrame, k: int) -> Among:
    """The features with the `k` largest attributions in size, on the side on which they are active.

    `table` is what `Attribution.top` gives (columns space, feature, activation, attribution), a row for each
    position; a feature counts by its largest.
    """
    largest: dict[Side, float] = {}
    rows = zip(*(table[name] for name in ("space", "feature", "attribution", "activation")), strict=True)
    for space, feature_id, attribution, activation in rows:
        side = str(space), int(feature_id), 1 if activation >= 0 else -1
        largest[side] = max(largest.get(side, 0.0), abs(float(attribution)))
    ranked = sorted(largest, key=lambda side: (-largest[side], side))
    return Among(frozenset(ranked[:k]))


def active_at(
    activations: Mapping[str, Float[np.ndarray, "position _"]], positions: Sequence[int], above: float = 0.0
) -> Among:
    """The features whose activation exceeds `above`, in either polarity, at one of these positions."""
    found: set[Side] = set()
    for space, values in activations.items():
        chosen = values[list(positions)]
        for polarity in (1, -1):
            active = np.flatnonzero((polarity * chosen > above).any(axis=0)).tolist()
            found |= {(space, feature_id, polarity) for feature_id in active}
    return Among(frozenset(found))


_NAMED: dict[str, Callable[..., Filter]] = {
    "space": lambda *names: InSpace(names),
    "layers": InLayers,
    "polarity": OfPolarity,
    "score": ScoreBetween,
    "keyword": Containing,
    "interesting": lambda: Interesting(),
}


def parse_filter(given: Mapping[str, Any]) -> Filter:
    """Parses a filter in JSON: {"and": [..]}, {"or": [..]}, {"not": ..}, or {NAME: value or values}.

    Names: space, layers [first, last], polarity, score [kind, low, high], keyword, interesting [].

    Raises:
        UserError: it is not of this form.
    """
    if isinstance(given, Mapping) and len(given) == 1:
        ((name, value),) = given.items()
        if name in ("and", "or") and isinstance(value, list):
            parts = tuple(parse_filter(part) for part in value)
            return And(parts) if name == "and" else Or(parts)
        if name == "not":
            return Not(parse_filter(value))
        if name in _NAMED:
            values = value if isinstance(value, list) else [value]
            try:
                return _NAMED[name](*values)
            except TypeError:
                pass
    raise UserError(
        f"{quoted(given)} is not a filter",
        "filter",
        f"write {{NAME: values}} with one of and, or, not, {', '.join(_NAMED)}",
    )
