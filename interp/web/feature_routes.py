"""The routes of the page Features: all features that the stores hold, found by words and conditions."""

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from interp.errors import UserError
from interp.fields import Count, CountOrZero, Finite, Flag, Layer, Line, NonEmpty, Section, Word
from interp.inspection.browse import MOST_ROWS, AboveNull, Browse, By, Described, OneOf, Saying, Sort
from interp.monitor.knowledge import MAIN_SCORE
from interp.store.filters import And, Filter, InLayers, Interesting, Not, Or, ScoreBetween
from interp.web.safety import body, json_response
from interp.web.served import Served
from interp.web.worker import result

LONGEST_WORDS = 500
MOST_CHIPS = 20
Words = Annotated[Line, Field(max_length=LONGEST_WORDS)]


class Chip(Section, ABC):
    """One condition, or its opposite."""

    negated: Flag = False

    def filter(self, browse: Browse) -> Filter:
        """Makes the condition; raises UserError if it names what the stores do not hold."""
        return Not(self.plain(browse)) if self.negated else self.plain(browse)

    @abstractmethod
    def plain(self, browse: Browse) -> Filter:
        """The condition that is not negated."""


class NamedChip(Chip):
    """Features of a space, or whose description is by an explainer."""

    kind: Literal["space", "explainer"]
    name: Word

    def plain(self, browse: Browse) -> OneOf:
        """The space or the explainer by its name."""
        return browse.named(self.kind, self.name)


class LayersChip(Chip):
    """Features of the layers from `first` to `last`."""

    kind: Literal["layers"]
    first: Layer
    last: Layer

    def plain(self, browse: Browse) -> InLayers:
        """The layers, both ends included."""
        if self.first > self.last:
            said = f"no layer is from {self.first} to {self.last}"
            raise UserError(said, "layers", "give the lower layer first")
        return InLayers(self.first, self.last)


class ScoreChip(Chip):
    """Features whose description has a score of at least `least`."""

    kind: Literal["score"]
    least: Finite

    def plain(self, browse: Browse) -> ScoreBetween:
        """The score from `least` on."""
        return ScoreBetween(MAIN_SCORE, self.least)


class TextChip(Chip):
    """Features whose description contains some words."""

    kind: Literal["text"]
    words: Annotated[Word, Field(max_length=LONGEST_WORDS)]

    def plain(self, browse: Browse) -> Saying:
        """The words, in any case."""
        return Saying(browse, self.words)


class PlainChip(Chip):
    """Features that are above their null, interesting, or described."""

    kind: Literal["above_null", "interesting", "described"]

    def plain(self, browse: Browse) -> Filter:
        """The condition of this name."""
        named: dict[str, Filter] = {
            "above_null": AboveNull(),
            "interesting": Interesting(),
            "described": Described(),
        }
        return named[self.kind]


AnyChip = Annotated[NamedChip | LayersChip | ScoreChip | TextChip | PlainChip, Field(discriminator="kind")]


class Asked(Section):
    """Which features: those that fulfil at least one condition of every group of `where`."""

    words: Words = ""
    by: By = "keyword"
    where: Annotated[tuple[NonEmpty[AnyChip], ...], Field(max_length=MOST_CHIPS)] = ()
    sort: Sort | None = None
    down: Flag = False
    offset: CountOrZero = 0
    limit: Annotated[Count, Field(le=MOST_ROWS)] = 50

    def groups(self, browse: Browse) -> list[Filter]:
        """The conditions that all hold: one for each group."""
        return [Or(tuple(chip.filter(browse) for chip in group)) for group in self.where]


class FeatureRoutes:
    """The routes of a served model."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.browse = Browse(served.bench.knowledge)
        self.router = APIRouter()
        for method, path, answer in (
            ("GET", "/features", self.page),
            ("GET", "/api/features", self.held),
            ("POST", "/api/features", self.find),
        ):
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    async def page(self) -> Response:
        """The page."""
        return self.served.pages.answer("features")

    async def held(self) -> Response:
        """Tells what there is to ask for: spaces, layers and explainers, with how many features each has."""
        return json_response(await run_in_threadpool(_held, self.browse))

    async def find(self, request: Request) -> Response:
        """Finds features, and shows a page of them."""
        asked = await body(request, Asked)
        if asked.by == "keyword" or not asked.words:
            return json_response(await run_in_threadpool(_found, self.browse, asked))
        await run_in_threadpool(lambda: self.browse.sides)  # so that only the search itself is in the line
        return json_response(await result(self.served.worker, request, lambda: _found(self.browse, asked)))


def _held(browse: Browse) -> dict[str, Any]:
    frame = browse.frame
    layers, low = frame["layer"].dropna(), frame["low"].min()
    explainers = frame["explainer"].value_counts()
    return {
        "features": len(frame),
        "described": int((frame["description"] >= 0).sum()),
        "spaces": [{"name": name, "features": b - a} for name, (a, b) in browse.sides.starts.items()],
        "explainers": [{"name": name, "features": int(n)} for name, n in explainers.items()],
        "layers": [int(layers.min()), int(layers.max())] if len(layers) else None,
        "lowest": None if np.isnan(low) else float(low),
    }


def _found(browse: Browse, asked: Asked) -> dict[str, Any]:
    groups = asked.groups(browse)
    found = browse.find(
        And(tuple(groups)), asked.words, asked.by,
        sort=asked.sort, down=asked.down, offset=asked.offset, limit=asked.limit,
    )  # fmt: skip
    return {
        "rows": [asdict(row) for row in found.rows],
        "total": found.total,
        "passing": found.passing,
        "why_none": [] if found.passing else _why_none(browse, asked, groups),
    }


def _why_none(browse: Browse, asked: Asked, groups: list[Filter]) -> list[dict[str, Any]]:
    """What excludes most, first: the place of a group, or null for the words, and what it alone lets through.

    `without` is how many features there were without it.
    """
    places: list[int | None] = list(range(len(groups)))
    if asked.words and asked.by == "keyword":
        groups, places = [*groups, Saying(browse, asked.words)], [*places, None]
    elif asked.words:
        groups = [*groups, Described()]
    counts = browse.without(groups)[: len(places)]
    told = [
        {"group": place, "alone": alone, "without": without}
        for place, (alone, without) in zip(places, counts, strict=True)
    ]
    return sorted(told, key=lambda one: (-one["without"], one["alone"]))
