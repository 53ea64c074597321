"""The circuit of a behaviour: found on half of some pairs of prompts, and measured on the other half."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from interp.bundled.gemma import GEMMA
from interp.bundled.gemma import pairs as gemma_pairs
from interp.bundled.world import pairs as world_pairs
from interp.circuits.circuit import Circuit, top_edges
from interp.circuits.edge_attribution import EdgeScores, Method, edge_scores
from interp.circuits.evaluation import Curve, Evaluator, faithfulness_curve, sizes_of
from interp.circuits.pairs import Metric, Pair, Pairs
from interp.circuits.wiring import Wiring
from interp.circuits.written import Corruption
from interp.errors import UserError
from interp.fields import Line, Listed, Section, Seed
from interp.monitor.bench import Bench
from interp.statistics.splits import split_halves
from interp.subject.subject import Subject

LEVEL = 0.95
"""The faithfulness that the smallest circuit shown has."""
MOST_PAIRS, FEWEST_GROUPS = 200, 4
PER_DOUBLING, RANDOM_DRAWS = 1.0, 2
"""Sizes that are measured, and random circuits beside each."""
KEPT = 4
"""How many findings are kept."""
Told = Callable[[str, str], None]
"""Is told what is being done, and how much of it."""
Drawn = Callable[[str, int, int], list[dict[str, Any]]]


class Question(Section):
    """A behaviour with pairs for it, of which `n` are drawn, or pairs of one's own; and how to find.

    A question that is asked again is answered from what was kept.
    """

    behaviour: Line = ""
    n: Annotated[int, Field(ge=4, le=MOST_PAIRS)] = 32
    seed: Seed = 0
    pairs: Annotated[Listed[Pair], Field(max_length=MOST_PAIRS)] = ()
    metric: Metric = "logit_difference"
    method: Method = "eap_ig_inputs"
    corruption: Corruption = "pair"


@dataclass(frozen=True, eq=False)
class Found:
    """What was found: scores and the size are chosen on the pairs `choose`, faithfulness is of `report`.

    With fewer than `FEWEST_GROUPS` groups of pairs both are all pairs (`alike`), so that faithfulness is too
    high. With one group it has no interval and is not measured: `curve` is None, and `size` is a guess.
    """

    wiring: Wiring
    pairs: Pairs
    choose: Pairs
    report: Pairs
    scores: EdgeScores
    sizes: tuple[int, ...]
    size: int
    curve: Curve | None
    metric: Mapping[str, float] = field(default_factory=dict)

    @property
    def alike(self) -> bool:
        """Whether faithfulness is measured on the pairs that the circuit was chosen on."""
        return self.choose is self.report

    def circuit(self, size: int) -> Circuit:
        """The circuit of the `size` edges with the largest scores, without what leads nowhere.

        Raises:
            UserError: no circuit of this size was measured.
        """
        if size not in self.sizes:
            near = min(self.sizes, key=lambda one: abs(one - size))
            raise UserError(f"a circuit of {size:,} edges was not measured", "size", f"use {near:,}")
        return top_edges(self.scores, size).pruned()

    @property
    def rows(self) -> list[dict[Any, Any]]:
        """The curve: for each size its faithfulness with interval, and that of random circuits."""
        table = pd.DataFrame() if self.curve is None else self.curve.table
        return table.to_dict("records")


@dataclass
class Circuits:
    """Finds the circuits of a bench's model, and keeps the last few."""

    bench: Bench
    _kept: OrderedDict[str, Found] = field(default_factory=OrderedDict)

    @property
    def subject(self) -> Subject:
        """The model."""
        return self.bench.subject

    @cached_property
    def wiring(self) -> Wiring:
        """The model's wiring; takes a short pass.

        Raises:
            UserError: the model's parts are not understood.
        """
        return Wiring.of(self.subject)

    @property
    def behaviours(self) -> tuple[str, ...]:
        """The behaviours for which the model has pairs."""
        bundled = self._bundled
        return () if bundled is None else bundled[1]

    @property
    def _bundled(self) -> tuple[Drawn, tuple[str, ...]] | None:
        if self.subject.info.speaks_world:
            return world_pairs.pairs, world_pairs.BEHAVIOURS
        if self.subject.name == GEMMA:
            return gemma_pairs.pairs, gemma_pairs.BEHAVIOURS
        return None

    def lines(self, question: Question) -> list[Pair]:
        """The pairs that a question is about.

        Raises:
            UserError: the model has no such behaviour, or fewer pairs; or no pair is given.
        """
        if not question.behaviour:
            if not question.pairs:
                raise UserError("there is no pair", "pairs", "write one, or choose a behaviour")
            return list(question.pairs)
        bundled = self._bundled
        if bundled is None:
            raise UserError(
                f"{self.subject.name} has no pairs of its own", "behaviour", "write pairs of your own"
            )
        drawn = bundled[0](question.behaviour, question.n, question.seed)
        return [Pair.model_validate(one) for one in drawn]

    def find(self, question: Question, told: Told | None = None) -> Found:
        """Scores all edges on half of the groups of pairs, and measures circuits of some sizes on the other.

        The size is the smallest from which on all circuits have a faithfulness of `LEVEL` on the half that
        was chosen on.

        Raises:
            UserError: the pairs do not fit the model (before it runs), or faithfulness is not defined.
        """
        key = question.model_dump_json()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = self._find(question, told or (lambda words, amount: None))
        self._kept[key] = found
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def _find(self, question: Question, told: Told) -> Found:
        pairs = Pairs.of_lines(self.subject, self.lines(question), question.metric)
        told("reading how the model is wired", "")
        wiring = self.wiring
        choose, report = halves(pairs, question.seed)
        measured = len({*pairs.groups}) > 1
        if measured:
            told("running the pairs", "")
            evaluators = [
                Evaluator(wiring, part, question.corruption, seed=question.seed)
                for part in dict.fromkeys((choose, report))
            ]
        told("scoring every edge", f"{wiring.graph.n_edges:,} edges")
        scores = edge_scores(wiring, choose, question.method, corruption=question.corruption)
        sizes = tuple(sizes_of(wiring.graph.n_edges, PER_DOUBLING))
        circuits = {size: top_edges(scores, size).pruned() for size in sizes}
        if not measured:
            return Found(wiring, pairs, choose, report, scores, sizes, sizes[len(sizes) // 2], None)
        on_choose = _curve(evaluators[0], circuits, 0, told, "choosing a size")
        on_report = _curve(evaluators[-1], circuits, RANDOM_DRAWS, told, "measuring circuits")
        size = on_choose.smallest(LEVEL) or sizes[-1]
        metric = {
            "clean": float(evaluators[-1].clean.mean()),
            "corrupted": float(evaluators[-1].corrupted.mean()),
        }
        return Found(wiring, pairs, choose, report, scores, sizes, size, on_report, metric)


def halves(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Half of the groups to choose on and half to report on; both are all pairs if the groups are few."""
    if len({*pairs.groups}) < FEWEST_GROUPS:
        return pairs, pairs
    first, second = split_halves([""] * len(pairs), seed, pairs.groups)
    return pairs.select(first), pairs.select(second)


def _curve(
    evaluator: Evaluator, circuits: Mapping[int, Circuit], random_draws: int, told: Told, what: str
) -> Curve:
    """The faithfulness of each size; tells how far it is."""
    parts = []
    for done, (size, circuit) in enumerate(circuits.items()):
        told(what, f"{done} of {len(circuits)} sizes")
        parts.append(faithfulness_curve(evaluator, {size: circuit}, random_draws).table)
    return Curve(pd.concat(parts, ignore_index=True), evaluator.wiring.graph.n_edges)


def check_nodes(found: Found, nodes: Sequence[str]) -> None:
    """Raises UserError if one of these is no node that writes."""
    for name in nodes:
        if name not in found.scores.graph.sources:
            raise UserError(f"there is no node {name!r} to take out", "nodes", "use one such as a0.h1 or m0")
