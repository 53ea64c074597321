"""What stores know of a subject's features: descriptions with their scores, quantiles, and search."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from interp.embed.embedder import Embedder
from interp.embed.source import EmbedderSource, TfidfSource
from interp.errors import UserError
from interp.store.filters import Filter
from interp.store.rows import DescriptionRow, FeatureRow, ScoreRow
from interp.store.search import Hit, Searcher
from interp.store.store import Store

MAIN_SCORE = "simulation"
"""The kind of score, on the report split, that a description is known by."""


@dataclass(frozen=True)
class Known:
    """What is known of one side of a feature; without a description its `text` and `short` are empty.

    `score` is the description's on the report split, with its interval and its null. `quantiles` are of the
    activation on that side, by the probability as text; `rate` is the share of tokens on which it is active.
    """

    key: str
    text: str = ""
    short: str = ""
    score: ScoreRow | None = None
    interesting: bool | None = None
    rate: float | None = None
    quantiles: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_guess(self) -> bool:
        """Whether nothing says that the description is better than another feature's.

        It has no score, or one that is not above the highest of its null.
        """
        score = self.score
        if score is None or score.value is None:
            return True
        return score.null_high is not None and score.value <= score.null_high


class Knowledge:
    """What some stores know of the features of one subject; where two know a feature, the first one counts.

    Without stores nothing is known, and features are shown by their keys.

    Raises:
        UserError: a store describes features of other models only.
    """

    def __init__(
        self, subject: str, stores: Sequence[Store] = (), embedder: EmbedderSource | None = None
    ) -> None:
        self.subject = subject
        self.stores = tuple(stores)
        self._source = embedder or TfidfSource()
        self._known: dict[str, Known] = {}
        self._levels: dict[str, dict[str, Float[np.ndarray, "side feature"]]] = {}
        for store in self.stores:
            subjects = {space.subject for space in store.spaces()}
            if subject not in subjects:
                raise UserError(
                    f"the store describes features of {', '.join(sorted(subjects)) or 'no model'}, "
                    f"not of {subject}",
                    store.where,
                    "give a store of this model, or open that model",
                )

    @cached_property
    def spaces(self) -> dict[str, int]:
        """The number of features of each space that the stores know."""
        rows = (space for store in self.stores for space in store.spaces() if space.subject == self.subject)
        return {space.name: space.n_features for space in rows}

    @cached_property
    def n_described(self) -> int:
        """How many sides of features have a description."""
        if len(self.stores) == 1:
            return self.stores[0].n_described(self.subject)
        return len({key for store in self.stores for key in store.described(self.subject)})

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder of descriptions, fitted on all of them where it needs fitting."""
        texts = [text for store in self.stores for text, _ in store.texts().values()]
        return self._source.open(texts or [""])

    def of(self, keys: Iterable[str]) -> dict[str, Known]:
        """What is known of each of these features; of one in no store, its key alone."""
        asked = list(dict.fromkeys(keys))
        missing = [key for key in asked if key not in self._known]
        for store in self.stores:
            for row in store.features(self.subject, missing):
                self._known.setdefault(row.key, _known(row))
        return {key: self._known.setdefault(key, Known(key)) for key in asked}

    def search(self, words: str, k: int = 20, only: Filter | None = None) -> list[Hit]:
        """Finds the `k` features whose descriptions are nearest in meaning to some words, nearest first."""
        found = (hit for searcher in self._searchers for hit in searcher.search(words, k, only))
        own = sorted((hit for hit in found if hit.subject == self.subject), key=lambda hit: -hit.similarity)
        return list({hit.key: hit for hit in reversed(own)}.values())[::-1][:k]

    def prepare(self) -> None:
        """Embeds all descriptions, so that the first search by meaning does not wait for it."""
        if self.n_described:
            self.search("", 1)

    def quantiles(self, space: str, n_features: int, level: str) -> Float[np.ndarray, "side feature"]:
        """The quantile of each side of each feature (0 the positive one), NaN where no store knows it.

        Raises:
            UserError: no quantile of this level is stored.
        """
        if level not in self._levels:
            self._levels[level] = self._quantiles(level)
        found = self._levels[level].get(space)
        return np.full((2, n_features), np.nan) if found is None else found

    @cached_property
    def _searchers(self) -> list[Searcher]:
        described = [store for store in self.stores if store.counts()["descriptions"]]
        if not described:
            raise UserError(
                "no feature of this model is described",
                "search",
                "give the run of `interp run describe`, or a store",
            )
        return [Searcher(store, self.embedder) for store in described]

    def _quantiles(self, level: str) -> dict[str, Float[np.ndarray, "side feature"]]:
        found = {name: np.full((2, n), np.nan) for name, n in self.spaces.items()}
        levels: set[str] = set()
        for store in reversed(self.stores):
            for row in store.quantiles(self.subject):
                levels |= row.quantiles.keys()
                if level in row.quantiles:
                    found[row.space][0 if row.polarity > 0 else 1, row.feature_id] = row.quantiles[level]
        if self.stores and level not in levels:
            raise UserError(
                f"no quantile at {level} is stored", "quantile", f"use {', '.join(sorted(levels)) or 'none'}"
            )
        return found


def _known(row: FeatureRow) -> Known:
    scored = [(_score(one), one) for one in row.descriptions if one.chosen]
    if not scored:
        return Known(row.key, rate=row.rate, quantiles=row.quantiles)
    score, best = max(scored, key=lambda pair: -np.inf if (v := _value(pair[0])) is None else v)
    return Known(
        row.key, best.text, best.summary or best.text, score, best.interesting, row.rate, row.quantiles
    )


def _score(description: DescriptionRow) -> ScoreRow | None:
    rows = (one for one in description.scores if (one.kind, one.split) == (MAIN_SCORE, "report"))
    return next(rows, None)


def _value(score: ScoreRow | None) -> float | None:
    return None if score is None else score.value
