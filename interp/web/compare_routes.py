"""The routes of the page Compare: what can be compared, two populations, and their scores as CSV."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from interp.csv_text import csv_text
from interp.errors import UserError
from interp.fields import Line, Section, Word
from interp.inspection.compared_runs import RunChoice, compare_in_run, read_run_population, run_choices
from interp.inspection.compared_stores import StoreChoice, read_population, store_choices
from interp.inspection.comparison import HOW, Comparison, Scored, compare, default_pair, in_digits
from interp.inspection.comparison_figures import comparison_figures
from interp.monitor.knowledge import MAIN_SCORE
from interp.render.digits import with_interval
from interp.render.figure import PHONE
from interp.web.safety import NotFound, json_response, valid
from interp.web.served import Served

Json = dict[str, Any]
BEST = 8
"""How many descriptions of either side, or pairs, are listed."""
KEPT = 16
"""How many answers are kept; what changes in a store or a run makes a new one."""
COLUMNS = ("value", "low", "high", "null_mean", "null_high", "text")


class Asked(Section):
    """Which two are compared, by the keys of `GET /api/compare/populations`, and by which score."""

    a: Word
    b: Word
    score: Word = MAIN_SCORE
    width: Literal["wide", "phone"] = "wide"


class Begun(Section):
    """What the page begins with."""

    a: Line = ""
    b: Line = ""
    score: Line = ""
    run: Line = ""


class CompareRoutes:
    """The routes on the populations of the stores and of the folder of runs."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._kept: dict[object, Json] = {}
        self.router = APIRouter()
        for path, answer in (
            ("/compare", self.page),
            ("/api/compare/populations", self.populations),
            ("/api/compare", self.compared),
            ("/compare.csv", self.csv),
        ):
            self.router.add_api_route(path, answer, methods=["GET"], response_model=None)

    async def page(self, request: Request) -> Response:
        """The page."""
        valid(Begun, dict(request.query_params), "the address")
        return self.served.pages.answer("compare")

    async def populations(self, request: Request) -> Response:
        """What can be chosen, and which two are compared first (of a run: `run`)."""
        begun = valid(Begun, dict(request.query_params), "the address")
        chosen = await run_in_threadpool(self._choices)
        choices = [one.choice for one in chosen.values()]
        stores = [one.choice for one in chosen.values() if isinstance(one, StoreChoice)]
        own = [one for one in choices if one.key.startswith(f"run/{begun.run}/")] if begun.run else stores
        listed = [
            {"key": one.key, "name": one.name, "group": one.group, "kind": one.kind, "n": one.described,
             "measures": one.measures}
            for one in choices
        ]  # fmt: skip
        return json_response({"populations": listed, "pair": default_pair(own) or default_pair(choices)})

    async def compared(self, request: Request) -> Response:
        """Two populations against each other, with the figures."""
        asked = valid(Asked, dict(request.query_params), "the address")
        return json_response(await run_in_threadpool(self._answer, asked))

    async def csv(self, request: Request) -> Response:
        """All scores of two populations."""
        asked = valid(Asked, dict(request.query_params), "the address")
        made = await run_in_threadpool(lambda: self._compare(asked, self._choices()))
        rows = [
            (side.choice.name, key, *row)
            for side in (made.first, made.second)
            for key, *row in side.rows[list(COLUMNS)].itertuples()
        ]
        text = csv_text(["population", "feature", *COLUMNS], rows)
        headers = {"Content-Disposition": 'attachment; filename="compare.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    def _choices(self) -> dict[str, StoreChoice | RunChoice]:
        knowledge = self.served.bench.knowledge
        found: list[StoreChoice | RunChoice] = [*store_choices(knowledge.stores, knowledge.subject)]
        return {one.choice.key: one for one in [*found, *run_choices(self.served.runs_dir)]}

    def _answer(self, asked: Asked) -> Json:
        stores = self.served.bench.knowledge.stores
        choices = self._choices()
        state = tuple(tuple(store.counts().items()) for store in stores)
        begun = tuple(one.run.started for one in choices.values() if isinstance(one, RunChoice))
        key = asked, state, begun
        if key not in self._kept:
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = comparison_view(
                self._compare(asked, choices), self.served.bench.subject.name, asked.width
            )
        return self._kept[key]

    def _compare(self, asked: Asked, choices: Mapping[str, StoreChoice | RunChoice]) -> Comparison:
        first, second = (self._chosen(choices, key, asked.score) for key in (asked.a, asked.b))
        if first.choice.overlaps(second.choice):
            thing = f"{first.choice.name} and {second.choice.name} have features in common"
            raise UserError(thing, "the address", "choose two that have none in common")
        if (
            isinstance(first, RunChoice)
            and isinstance(second, RunChoice)
            and first.run.name == second.run.name
        ):
            return compare_in_run(first, second)
        return compare(self._read(first, asked.score), self._read(second, asked.score), asked.score)

    def _chosen(
        self, choices: Mapping[str, StoreChoice | RunChoice], key: str, score: str
    ) -> StoreChoice | RunChoice:
        chosen = choices.get(key)
        if chosen is None:
            raise NotFound(f"there is no population {key[:80]!r}", "the address", "choose one of the lists")
        if score not in chosen.choice.measures:
            fix = f"use {', '.join(chosen.choice.measures) or 'another population'}"
            raise UserError(f"{chosen.choice.name} have no score {score[:80]!r}", "score", fix)
        return chosen

    def _read(self, chosen: StoreChoice | RunChoice, score: str) -> Scored:
        if isinstance(chosen, RunChoice):
            return read_run_population(chosen)
        return read_population(chosen, self.served.bench.subject.name, score)


def comparison_view(made: Comparison, subject: str, width: str) -> Json:
    """A comparison as the page shows it; features of `subject` have pages."""
    figures = [
        {"title": one.title, "caption": one.caption, "svg": str(one.svg(PHONE if width == "phone" else None))}
        for one in comparison_figures(made)
    ]
    return {
        "sentence": made.sentence,
        "how": HOW[made.how],
        "paired": made.how == "paired",
        "sides": [_side(made.first), _side(made.second)],
        "linked": all(side.subject == subject for side in (made.first, made.second)),
        "difference": in_digits(made.difference, sign=True),
        "estimate": made.difference._asdict(),
        "n_pairs": made.n_pairs,
        "ahead": made.ahead,
        "pairs": _pair_rows(made),
        "matches": _matches(made),
        "concepts": _concepts(made),
        "figures": figures,
    }


def _side(side: Scored) -> Json:
    best = side.rows.dropna(subset=["value"]).sort_values("value", ascending=False, kind="stable")[:BEST]
    return {
        "key": side.choice.key, "name": side.choice.name, "kind": side.choice.kind, "source": side.source,
        "described": side.choice.described, "scored": len(side.values), "undefined": side.undefined,
        "above": side.above, "mean": with_interval(side.mean), "null": with_interval(side.null),
        "estimate": side.mean._asdict(),
        "best": [
            {"key": key, "value": row["value"], "text": row["text"],
             "guess": bool(row["value"] <= row["null_high"])}
            for key, row in best.iterrows()
        ],
    }  # fmt: skip


def _pair_rows(made: Comparison) -> list[Json]:
    """The features whose two scores differ most."""
    if made.how != "paired":
        return []
    both = made.first.rows.add_suffix("_a").join(made.second.rows.add_suffix("_b"), how="inner")
    both["gap"] = both["value_b"] - both["value_a"]
    order = np.argsort(-both["gap"].abs().fillna(-1).to_numpy(), kind="stable")[:BEST]
    columns = ["value_a", "text_a", "value_b", "text_b", "gap"]
    return [{"key": key, **{name: row[name] for name in columns}} for key, row in both.iloc[order].iterrows()]


def _matches(made: Comparison) -> Json | None:
    found = made.matches
    if found is None:
        return None
    order = found.rows.sort_values("correlation", ascending=False, kind="stable")[:BEST]
    texts = pd.concat([made.first.rows["text"], made.second.rows["text"]])
    columns = ["latent", "neuron", "correlation", "random_correlation", "latent_score", "neuron_score"]
    said = {
        "Mean r with the nearest neuron": with_interval(found.correlation),
        "With the nearest random direction": with_interval(found.random),
        "Beyond random": with_interval(found.beyond, sign=True),
        "Score, latent minus neuron": with_interval(found.difference, sign=True),
        "Pairs with two scores": f"{found.scored}, the latent ahead in {found.ahead}",
        "Latents without a match": str(found.unmatched),
    }
    rows = [
        {**{name: row[name] for name in columns}, "text": str(texts.get(row["latent"], ""))}
        for row in order.to_dict("records")
    ]
    return {"facts": list(said.items()), "rows": rows}


def _concepts(made: Comparison) -> Json | None:
    found = made.concepts
    if found is None:
        return None
    table: dict[str, dict[str, Json]] = {}
    for one in found.recoveries:
        shown = {"auroc": one.auroc, "low": one.low, "high": one.high, "key": _key(one)}
        table.setdefault(one.concept, {})[one.method] = shown
    first, second = made.first.choice.name, made.second.choice.name
    rows = [{"concept": name, "a": row.get(first), "b": row.get(second)} for name, row in table.items()]
    return {
        "difference": with_interval(found.difference, sign=True),
        "found": [found.first_found, found.second_found],
        "rows": rows,
    }


def _key(one: Any) -> str:
    return f"{one.space}/{one.feature_id}{'+' if one.polarity > 0 else '-'}"
