"""All that stores hold of a subject's features, to search, filter, sort and turn the pages of."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from jaxtyping import Float

from interp.errors import UserError, similar_names
from interp.inspection.sides import SCORE, Rows, Sides, numbered, read_sides
from interp.monitor.knowledge import Knowledge
from interp.store.filters import Filter, Mask
from interp.store.rows import FeatureRow
from interp.store.store import Store

MOST_ROWS = 100
"""Rows of a page."""
NEAREST = 500
"""How many features a search by meaning finds."""
By = Literal["keyword", "meaning"]
Sort = Literal["key", "layer", "score", "low", "high", "null_high", "rate", "likeness"]
Values = Float[np.ndarray, " row"]


@dataclass(frozen=True)
class Listing:
    """One side of a feature as a table shows it; `short` and `explainer` are empty without a description."""

    key: str
    space: str
    layer: int | None
    feature_id: int
    polarity: int
    rate: float | None
    short: str
    explainer: str
    score: float | None
    low: float | None
    high: float | None
    null_high: float | None
    guess: bool
    interesting: bool | None
    likeness: float | None


@dataclass(frozen=True)
class Found:
    """A page of what was found: `total` features, of `passing` that a search by meaning chose among."""

    rows: tuple[Listing, ...]
    total: int
    passing: int


@dataclass(frozen=True)
class OneOf(Filter):
    """Features whose space, or whose description's explainer, is one of these."""

    column: Literal["space", "explainer"]
    names: tuple[str, ...]

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True for the rows with one of the names."""
        return catalogue[self.column].isin(self.names).to_numpy(dtype=np.bool_)


@dataclass(frozen=True)
class AboveNull(Filter):
    """Features whose description is no guess: its score is above the highest of its null."""

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True where `guess` is false."""
        return ~catalogue["guess"].to_numpy(dtype=np.bool_)


@dataclass(frozen=True)
class Described(Filter):
    """Features that have a description."""

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True where there is one."""
        return (catalogue["description"] >= 0).to_numpy(dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Saying(Filter):
    """Features whose description contains these words, as `Containing`, but looked up in memory."""

    browse: "Browse"
    words: str

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        """True where the text or the summary contains the words, in any case."""
        found: Mask = self.browse.saying(self.words.lower())[catalogue.index.to_numpy()]
        return found


@dataclass(frozen=True, eq=False)
class _Listed(Filter):
    """Descriptions with these ids, by their store."""

    ids: Mapping[str, Rows]

    def mask(self, store: Store, catalogue: pd.DataFrame) -> Mask:
        found: Mask = np.isin(catalogue["description"].to_numpy(), self.ids[store.where])
        return found


class Browse:
    """All features that stores hold of a subject; as in `Knowledge`, the first store that knows one counts.

    The stores are read once, when they are first needed.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self.saying = lru_cache(16)(self._saying)
        self._ordered = lru_cache(16)(lambda sort, down: _stable(self._values(sort), down))
        self._lock = threading.Lock()
        self._read: Sides | None = None

    @property
    def sides(self) -> Sides:
        """What the stores hold."""
        if self._read is None:
            with self._lock:
                self._read = self._read or read_sides(self.knowledge)
        return self._read

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each side of a feature; see `Sides`."""
        return self.sides.frame

    def find(
        self,
        only: Filter | None = None,
        words: str = "",
        by: By = "keyword",
        *,
        sort: Sort | None = None,
        down: bool = False,
        offset: int = 0,
        limit: int = 50,
    ) -> Found:
        """Finds features, and shows `limit` of them from number `offset` on.

        They pass `only`, and their descriptions contain `words`; or, `by` meaning, are the `NEAREST` to them.
        Without `sort` they come by layer, space and id, or the nearest first. What has no value comes last
        in either direction.

        Raises:
            UserError: `limit` or `offset` is out of range, or what a search by meaning needs is missing.
        """
        if not 1 <= limit <= MOST_ROWS or offset < 0:
            raise UserError(
                "there is no such page", "limit", f"use an offset from 0 and 1 to {MOST_ROWS} rows"
            )
        near = bool(words) and by == "meaning"
        if sort == "likeness" and not near:
            raise UserError("nothing has a likeness", "sort", "search by meaning, or sort by something else")
        shown = slice(offset, offset + limit)
        mask = self.mask(only)
        if near:
            mask &= self.mask(Described())
            places, likeness = self._nearest(words, mask)
            if sort is not None:
                order = _stable(likeness if sort == "likeness" else self._values(sort)[places], down)
                places, likeness = places[order], likeness[order]
            return Found(self._listed(places[shown], likeness[shown]), len(places), int(mask.sum()))
        if words:
            mask &= self.saying(words.lower())
        if sort is None:
            places = np.flatnonzero(mask)
        else:
            order = self._ordered(sort, down)
            places = order[mask[order]]
        return Found(self._listed(places[shown]), len(places), len(places))

    def mask(self, only: Filter | None) -> Mask:
        """True for the rows of `frame` that pass a filter."""
        found = np.ones(len(self.frame), dtype=np.bool_)
        if only is not None:
            for store, rows, part in self._parts:
                found[rows] = only.mask(store, part)
        return found

    def without(self, parts: Sequence[Filter]) -> list[tuple[int, int]]:
        """For each condition, how many features pass it, and how many pass all the others."""
        masks = [self.mask(part) for part in parts]
        failed = np.sum([~one for one in masks], axis=0)
        return [(int(one.sum()), int((failed == ~one).sum())) for one in masks]

    def named(self, column: Literal["space", "explainer"], name: str) -> OneOf:
        """The filter for a space or an explainer.

        Raises:
            UserError: the stores have none of this name.
        """
        known = self.frame[column].cat.categories.tolist()
        if name not in known:
            near = similar_names(name, known) or known[:10]
            fix = f"use {', '.join(near) or 'another store'}"
            raise UserError(f"the stores have no {column} {name!r}", column, fix)
        return OneOf(column, (name,))

    def _nearest(self, words: str, mask: Mask) -> tuple[Rows, Values]:
        """The rows nearest to some words, nearest first, and their likeness."""
        ids = {store.where: part["description"].to_numpy()[mask[rows]] for store, rows, part in self._parts}
        hits = self.knowledge.search(words, NEAREST, _Listed(ids))
        places = np.zeros(len(hits), dtype=np.int64)
        for number, hit in enumerate(hits):
            start, end = self.sides.starts[hit.space]
            side = 2 * hit.feature_id + (hit.polarity < 0)
            places[number] = start + np.searchsorted(self._numbers[start:end], side)
        return places, np.array([hit.similarity for hit in hits], dtype=np.float64)

    def _listed(self, places: Rows, likeness: Values | None = None) -> tuple[Listing, ...]:
        rows = self.frame.iloc[places].to_dict("records")
        texts: dict[tuple[int, int], tuple[str, str]] = {}
        for place, store in enumerate(self.knowledge.stores):
            ids = [row["description"] for row in rows if row["store"] == place and row["description"] >= 0]
            texts |= {(place, one): told for one, told in (store.texts(ids) if ids else {}).items()}
        return tuple(
            _listing(
                row,
                *texts.get((row["store"], row["description"]), ("", "")),
                None if likeness is None else float(likeness[number]),
            )
            for number, row in enumerate(rows)
        )

    def _saying(self, words: str) -> Mask:
        found: Mask = pc.match_substring(self.sides.texts, words).to_numpy()
        return found

    def _values(self, sort: Sort) -> Values:
        if sort == "key":
            return np.arange(len(self.frame), dtype=np.float64)
        return self.frame[SCORE if sort == "score" else sort].to_numpy(dtype=np.float64)

    @cached_property
    def _numbers(self) -> Rows:
        return numbered(self.frame["feature_id"].to_numpy(), self.frame["polarity"].to_numpy())

    @cached_property
    def _parts(self) -> list[tuple[Store, Rows | slice, pd.DataFrame]]:
        """The rows of each store."""
        stores, owner = self.knowledge.stores, self.frame["store"].to_numpy()
        if len(stores) == 1:
            return [(stores[0], slice(None), self.frame)]
        rows = [np.flatnonzero(owner == place) for place in range(len(stores))]
        return [(store, own, self.frame.iloc[own]) for store, own in zip(stores, rows, strict=True)]


def _stable(values: Values, down: bool) -> Rows:
    """The order of values, equal ones as they come and missing ones last; quicker than a stable sort."""
    signed = np.where(np.isnan(values), np.inf, -values if down else values)
    order = np.argsort(signed)
    ordered = signed[order]
    ties = np.zeros(len(order), dtype=np.int64)
    np.cumsum(ordered[1:] != ordered[:-1], out=ties[1:])
    ranked = (ties << 32) | order
    ranked.sort()
    found: Rows = ranked & (2**32 - 1)
    return found


def _listing(row: Mapping[Any, Any], text: str, summary: str, likeness: float | None) -> Listing:
    def number(name: str) -> float | None:
        return None if np.isnan(row[name]) else float(row[name])

    side = FeatureRow(row["space"], row["feature_id"], row["polarity"])
    return Listing(
        side.key, side.space, None if np.isnan(row["layer"]) else int(row["layer"]), side.feature_id,
        side.polarity, number("rate"), summary or text, row["explainer"] if row["description"] >= 0 else "",
        number(SCORE), number("low"), number("high"), number("null_high"), row["guess"],
        None if row["interesting"] is pd.NA else row["interesting"], likeness,
    )  # fmt: skip
