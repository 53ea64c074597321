"""The steps of `elicit`."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from interp.descriptions.sources import open_clients
from interp.elicit.behaviour import Behaviour, Exchange
from interp.elicit.config.investigators import InvestigatorSource, Setting
from interp.elicit.config.prompts import check_askable
from interp.elicit.directions import (
    FeatureDirection,
    attributed_features,
    behaviour_vectors,
    random_controls,
)
from interp.elicit.findings import (
    best_distinct,
    confirm,
    median_perplexity,
    success_by_budget,
    tries_table,
)
from interp.elicit.first_look import first_look
from interp.elicit.investigators.steering import SteeringSearch
from interp.elicit.propensity.estimate import Propensity, plain, weighted
from interp.elicit.proposal import Proposal, Steer
from interp.elicit.search import History, Search, Try, read_history
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Direction, Target
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.fields import seed_after
from interp.statistics.estimate import Estimate, share_interval
from interp.track.files import write_json
from interp.track.journal import Journal
from interp.track.records import read_written
from interp.track.run import Run
from interp.track.step import Step
from interp.vectors.file import load_vectors, save_vectors
from interp.vectors.vector import Vector
from saes.spaces import SpacesConfig

from ..common.job import SubjectJob
from .config import Config
from .page import ElicitPage
from .summary import CONFIRMED, TAKES, confirmed_find, measured_searches, taken_strength

STEERS = 3
"""Directions of a steering search, the weakest that do, from which the propensity's replies are drawn."""
CONFIRMED_ABOVE = 1.25
"""By how much more than the least strength they are steered then."""
REDUCED_PASSES = 2000
"""Passes that shortening one prompt may take."""
ORDINARY_DRAWS = 4
"""Fresh replies to each ordinary prompt."""


class Job(SubjectJob[Config]):
    """Looks at the judge, searches by every investigator, confirms finds, and estimates the propensity."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.clients = open_clients(config.endpoints, run.folder)
        self.spaces = (config.spaces or SpacesConfig()).open(self.subject)
        self.prompts = config.prompts.open()
        self.directions: dict[str, Direction] = {}
        self.vectors: list[Vector] = []
        self.ordinary: list[Exchange] = []

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        config = self.config
        look = read_written(self.run.step("first_look", self.first_look) / "ordinary.json")
        self.ordinary = [Exchange(**{**one, **_ids(one)}) for one in look["exchanges"]]
        if config.behaviour.examples:
            self._open_directions(self.run.step("directions", self.find_directions))
        for label, source in zip(config.labels, config.investigators, strict=True):
            for repeat in range(config.repeats):
                self.run.step(self._name(label, repeat), partial(self.search, source, repeat))
        self.run.step("finds", self.finds)
        self.run.step("confirm", self.confirm)
        if config.propensity is not None:
            self.run.step("propensity", self.propensity)
        self.write_page(lambda: ElicitPage(self.run, config, self.subject))

    def target(self, budget: Budget | None = None) -> Target:
        """The model as it is asked, with a meter of its own."""
        return Target(self.subject, self.config.frame, Meter(budget or Budget()), self.directions)

    def behaviour(self, target: Target) -> Behaviour:
        """The behaviour; what its judge spends counts to the target's budget."""
        return self.config.behaviour.open(target, self.clients, self.spaces, lambda: self.ordinary)

    def first_look(self, step: Step) -> None:
        """Has ordinary prompts answered, and judges them and the examples, before anything is spent."""
        target, asked = self.target(), self.prompts.sample(4 * self.config.confirm.ordinary, Random("look"))
        check_askable(target, self.prompts, asked)
        asked = [one for one in dict.fromkeys(asked) if target.takes(one)][: self.config.confirm.ordinary]
        self.ordinary = target.ask([Proposal(prompt) for prompt in asked])
        behaviour = self.behaviour(target)
        found = first_look(target, behaviour, asked)
        step.estimate("ordinary/shown", *found.ordinary, headline=True)
        step.metric("ordinary/unreadable", found.unreadable)
        step.metric("examples/shown", found.examples_shown)
        step.metric("examples/of", found.examples)
        step.metric("ordinary/perplexity", median_perplexity(target, asked))
        exchanges = [asdict(one) for one in self.ordinary]
        write_json(
            step.folder / "ordinary.json",
            {"judge": behaviour.judge.name, "behaviour": behaviour.name, "exchanges": exchanges},
        )

    def find_directions(self, step: Step) -> None:
        """Makes the behaviour's vectors, and finds the features that add most to its examples."""
        target, config = self.target(), self.config.directions
        behaviour, asked = self.behaviour(target), [one.prompt for one in self.ordinary]
        layers = range(self.subject.n_layers) if config.layers is None else config.layers
        save_vectors(
            step.folder / "vectors.safetensors", behaviour_vectors(target, behaviour, asked, list(layers))
        )
        features = []
        if config.features:
            features = attributed_features(target, behaviour, asked, self.spaces, config.features)
        write_json(step.folder / "features.json", [[one.feature.key, one.unit] for one in features])
        step.metric("directions/passes", target.meter.spent.passes)
        step.metric("directions/tokens", target.meter.spent.tokens)

    def search(self, source: InvestigatorSource, repeat: int, step: Step) -> None:
        """Searches once by one investigator; every try is kept, also if the search is stopped."""
        config, target = self.config, self.target(self.config.budget)
        behaviour = self.behaviour(target)
        setting = Setting(
            target, behaviour, self.prompts, config.prompts, lambda: self.vectors, self.clients, self.spaces,
            step.scratch,
        )  # fmt: skip
        investigator = source.open(setting)
        journal = step.scratch / "search.jsonl"
        search = Search(
            target, behaviour, investigator,
            seed=seed_after(config.seed, repeat), round_size=config.round_size, stop_after=config.stop_after,
            journal=Journal(journal),
        )  # fmt: skip
        history = search.run(step.progress)
        if search.ended == "budget" and not len(history):
            self.run.tell(f"The budget does not fit a first round of this: {investigator.name}.")
        (step.folder / "search.jsonl").write_bytes(journal.read_bytes())
        step.table(f"tries_{step.name}", tries_table(target, history))
        spent = {"passes": history.spent.passes, "tokens": history.spent.tokens, "usd": history.spent.usd}
        takes = investigator.found(history) if isinstance(investigator, SteeringSearch) else []
        write_json(
            step.folder / "search.json",
            {
                "ended": search.ended, "unusable": search.unusable, "investigator": investigator.name,
                "spent": spent, "takes": [taken_strength(one) for one in takes],
            },
        )  # fmt: skip
        step.metric(f"{step.name}/shown", len(history.shown))
        step.metric(f"{step.name}/tries", len(history))
        step.metric(f"{step.name}/tokens", history.spent.tokens)

    def finds(self, step: Step) -> None:
        """Holds the investigators against each other: how often, how soon, how different, how fluent."""
        rows, curves, takes = [], [], []
        for label in self.config.labels:
            searches = range(self.config.repeats)
            histories = [self.history(label, repeat) for repeat in searches]
            rows.append({"investigator": label, **measured_searches(self.target(), histories)})
            curves.append(success_by_budget(histories).assign(investigator=label))
            for repeat in searches:
                named = {"investigator": label, "repeat": repeat}
                takes += [{**named, **one} for one in self._record(label, repeat)["takes"]]
            step.estimate(f"{label}/found", *Estimate.of(rows[-1], "found"), headline=True)
        step.table("investigators", pd.DataFrame(rows))
        step.table("curves", pd.concat(curves, ignore_index=True))
        step.table("takes", pd.DataFrame(takes, columns=["investigator", "repeat", *TAKES]))

    def confirm(self, step: Step) -> None:
        """Shortens the best finds, and asks all of them again for replies that no search has judged."""
        config, rows = self.config.confirm, []
        target = self.target(Budget(passes=REDUCED_PASSES * max(1, config.prompts) * len(self.config.labels)))
        behaviour = self.behaviour(target)
        found = [(label, one) for label in self.config.labels for one in self._best(label, config.prompts)]
        with step.progress.task("confirming finds", total=len(found), unit="prompts") as advance:
            for label, one in found:
                row = confirmed_find(target, behaviour, one, config.draws, self.config.seed)
                rows.append({"investigator": label, **row})
                advance(1)
        usual = [Proposal(one.prompt) for one in self.ordinary]
        asked = confirm(target, behaviour, usual, ORDINARY_DRAWS, self.config.seed)
        shown = [round(float(one.shown.value) * one.replies) for one in asked if one.replies]
        step.estimate("ordinary/shown_at_1", *share_interval(sum(shown), sum(one.replies for one in asked)))
        step.table("confirmed", pd.DataFrame(rows, columns=["investigator", *CONFIRMED]))

    def propensity(self, step: Step) -> None:
        """Estimates how likely the behaviour is without a search: plainly, and from the steered model."""
        config, seed = self.config.propensity, self.config.seed
        assert config is not None
        target = self.target()
        behaviour = self.behaviour(target)
        found: list[Propensity] = [
            plain(
                target, behaviour, self.prompts, config.plain, rate=config.rate, seed=seed,
                journal=Journal(step.scratch / "plain.jsonl"), progress=step.progress,
            )
        ]  # fmt: skip
        said, steers = "", self._steers()
        if not steers:
            said = "No steering search found what brings the behaviour out, so no weighted estimate was made."
        else:
            try:
                found.append(
                    weighted(
                        target, behaviour, self.prompts, config.weighted, steers=steers,
                        defensive=config.defensive, wanted=config.wanted, seed=seed_after(seed, 1),
                        journal=Journal(step.scratch / "weighted.jsonl"), progress=step.progress,
                    )
                )  # fmt: skip
            except UserError as error:
                said = f"No weighted estimate was made: {error.thing}."
        if said:
            step.progress.say(said)
        rows = []
        for kind, one in zip(("plain", "weighted"), found, strict=False):
            step.estimate(f"propensity/{kind}", *one.interval, headline=True)
            step.metric(f"propensity/{kind}_at_least", one.lower, headline=kind == "weighted")
            rows.append(
                {
                    "drawn": kind,
                    **one.interval.named("propensity"),
                    "at_least": one.lower,
                    "n": one.n,
                    "n_shown": one.n_shown,
                    "effective": one.weights.effective_shown,
                    "largest": one.weights.largest,
                    "unreadable": one.unreadable,
                    "tokens": one.spent.tokens,
                    "method": one.method,
                }
            )
        step.table("propensity", pd.DataFrame(rows))
        write_json(step.folder / "propensity.json", {"said": said, "found": [one.to_json() for one in found]})

    def history(self, label: str, repeat: int) -> History:
        """Reads the tries of a search that has finished."""
        return read_history(Journal(self.run.folder / "steps" / self._name(label, repeat) / "search.jsonl"))

    def _record(self, label: str, repeat: int) -> dict[str, Any]:
        folder = self.run.folder / "steps" / self._name(label, repeat)
        record: dict[str, Any] = read_written(folder / "search.json")
        return record

    def _best(self, label: str, k: int) -> list[Try]:
        """The best finds of all searches by an investigator, in turns."""
        each = [best_distinct(self.history(label, repeat), k) for repeat in range(self.config.repeats)]
        turns = [one for place in range(k) for own in each for one in own[place : place + 1]]
        return list({one.proposal.asked: one for one in turns}.values())[:k]

    def _steers(self) -> list[tuple[Steer, ...]]:
        """The weakest directions, not random ones, by which steering searches brought the behaviour out."""
        takes = self.run.table("takes")
        own = takes[~takes["direction"].str.startswith("random")] if len(takes) else takes
        best = own.sort_values("strength").drop_duplicates("direction").head(STEERS)
        return [
            (Steer(str(row["direction"]), CONFIRMED_ABOVE * float(row["strength"])),)
            for row in best.to_dict("records")
        ]

    def _open_directions(self, folder: Path) -> None:
        self.vectors = load_vectors(folder / "vectors.safetensors", self.subject)
        self.directions = {f"vector after layer {one.site.layer}": one for one in self.vectors}
        for key, unit in read_written(folder / "features.json", "list"):
            self.directions[key] = FeatureDirection(FeatureRef.parse(key, self.spaces), unit)
        draws = self.config.directions.random
        for number, one in enumerate(random_controls(self.vectors, draws, self.config.seed)):
            self.directions[f"random {number} after layer {one.site.layer}"] = one

    def _name(self, label: str, repeat: int) -> str:
        return f"search_{re.sub(r'[^A-Za-z0-9_-]+', '_', label)}_{repeat}"


def _ids(one: dict[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(one[name]) for name in ("asked", "written")}
