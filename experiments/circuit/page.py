"""The page of `circuit`, filled from what its steps wrote."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from interp.circuits.circuit import Circuit
from interp.circuits.edge_attribution import EdgeScores
from interp.render.charts.curves import curve_chart
from interp.render.digits import count, measured, number, with_interval
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Section, Table
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.page import ExperimentPage
from . import evidence
from .config import Config
from .drawn import DrawnCircuit, strongest

SAID_ONE_BY_ONE = 3  # most behaviours of which the verdict tells each


class CircuitPage(ExperimentPage[Config]):
    """Shows how few edges carry each behaviour, which they are, and what tests of them gave."""

    words = (
        ("Edge", "What one part of the model (the input, a head, an MLP) writes, as another part reads it: "
         "a head's query, key or value, an MLP, or the logits."),
        ("Corrupted", "The reader gets what the part writes in another prompt (or on average, or nothing), "
         "everything else unchanged."),
        ("Faithfulness", "The metric with all edges outside the circuit corrupted: 0 is no better than with "
         "all corrupted, 1 as good as the whole model."),
        ("Completeness", "The faithfulness of everything but the circuit: near 0 if it lacks nothing."),
        ("Top, greedy", "The edges of the largest scores; or those found from the logits downwards, each "
         "time the largest into what is in the circuit. What then leads nowhere is dropped."),
        ("Random circuit", "As many edges of each kind of reader (query, key, value, MLP, logits), drawn "
         "at random."),
        ("Area", "The mean faithfulness over the logarithm of the size, cut to 0 and 1."),
        ("Metric", "The logit of the right token less that of the wrong one, or the same of probabilities."),
    )  # fmt: skip
    limits = (
        "A circuit is of these prompts: another wording or another corruption may need other edges.",
        "The level is held on the half that circuits were chosen on; on the other half it may be missed.",
        "Faithful on average need not be faithful pair by pair: errors of both signs cancel.",
        "That an edge matters does not say what it carries.",
    )

    subject: Subject

    def __init__(
        self,
        run: Run,
        config: Config,
        subject: Subject,
        drawings: Mapping[str, tuple[Circuit, EdgeScores]],
    ) -> None:
        super().__init__(run, config, subject)
        self.drawings = drawings
        self.asked, self.scores, self.curves, self.areas, self.circuits = (
            run.table(name) for name in ("behaviour", "scores", "curves", "areas", "circuits")
        )
        self.agreement, self.minimality, self.heads = (
            run.table(name) for name in ("agreement", "minimality", "heads")
        )
        self.names = list(drawings)
        self.n_edges = int(self.circuits["of_edges"].iloc[0])
        low, high = int(self.asked["report"].min()), int(self.asked["report"].max())
        n = str(low) if low == high else f"{low} to {high}"
        self.on = f"{n} held-out pairs of each behaviour; bands and whiskers: 95% intervals over groups"

    def question(self) -> str:
        """What was asked."""
        return f"Which few edges of {self.subject.name} carry {listed(self.names)}?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        return (
            f"The heads and MLPs of {self.subject.name} are joined by {count(self.n_edges)} edges; each was "
            f"scored by {listed(self.config.methods)} on one half of the pairs of prompts.",
            "Circuits of growing size were then run on the other half, with all other edges corrupted, and "
            "beside random circuits of the same size (grey).",
            self._verdict(),
        )

    def headline(self) -> Figure:
        """Draws faithfulness over size, of as many behaviours as there are colours."""
        return self._faithfulness(self.names[: len(evidence.COLOURS)], "faithfulness", 620)

    def sections(self) -> Sequence[Section]:
        """The evidence."""
        found = [
            self._behaviours(),
            self._smallest(),
            self._drawn(),
            evidence.methods(self.areas, self.on),
            evidence.single_edges(self.agreement),
            evidence.minimal(self.circuits, self.minimality),
            self._heads(),
        ]
        if len(self.names) > 1:
            shared, crossed = (self.run.table(name) for name in ("shared_edges", "crossed"))
            found.append(evidence.overlap(self.names, shared, crossed, self.on))
        return [*found, Section("The largest edges", tables=[self._largest()])]

    def _faithfulness(self, names: Sequence[str], figure: str, width: int) -> Figure:
        own = self.curves[self.curves["chosen"] & (self.curves["half"] == "report")]
        drawn = self._sizes(own[own["behaviour"].isin(names)])
        return Figure(figure, "How much of the behaviour a circuit keeps", self.on, drawn, width)

    def _sizes(self, curves: pd.DataFrame) -> Draw:
        curves = curves.assign(log=[math.log2(edges) for edges in curves["edges"]])
        every = f"all {count(self.n_edges)} are {math.log2(self.n_edges):.1f}"
        x_name = f"edges, as a power of 2 (10 is 1,024; {every})"
        return curve_chart([*evidence.beside_random(curves, "log")], x_name=x_name, y_name="faithfulness")

    def _behaviours(self) -> Section:
        columns: list[Column | str] = [
            "behaviour", "metric", Column("right", of="clean_right"), Column("mean", of="clean_mean"),
            Column("right, corrupted", of="corrupted_right"), Column("mean, corrupted", of="corrupted_mean"),
            Column("pairs", places=0), Column("groups", places=0),
        ]  # fmt: skip
        text = "Right: the metric is above zero. Pairs of one group are in one half; means are over groups."
        table = Table.of(self.asked, columns, "behaviours", "The whole model, and with every edge corrupted")
        return Section("Does the model do it", [text], tables=[table])

    def _smallest(self) -> Section:
        columns: list[Column | str] = [
            "behaviour", "method", "choice", Column("edges", places=0), Column("nodes", places=0),
            "faithfulness", Column("random circuits", of="random"), "completeness",
            Column("of random circuits", of="random_completeness"),
            Column("on the other half", of="faithfulness_choose", places=2),
        ]  # fmt: skip
        text = (
            f"Of every method the smallest circuit with a faithfulness of {number(self.config.level)} on the "
            f"half to choose on, of these the one with the fewest of {count(self.n_edges)} edges. The last "
            "column is of that half, the others are of held-out pairs."
        )
        at_once = len(evidence.COLOURS)
        figures = [
            self._faithfulness(self.names[first : first + at_once], f"faithfulness-{first + 1}", 540)
            for first in range(at_once, len(self.names), at_once)
        ]
        return Section(
            "The smallest circuits",
            [text],
            figures,
            tables=[Table.of(self.circuits, columns, "circuits", "The smallest circuits")],
        )

    def _drawn(self) -> Section:
        figures = []
        for name, (circuit, scores) in self.drawings.items():
            shown = strongest(circuit, scores)
            part = f"the {shown.n_edges} largest" if shown.n_edges < circuit.n_edges else "all"
            caption = f"{part} of {circuit.n_edges} edges; width: size of the score ({scores.method})"
            figures.append(DrawnCircuit(
                name=f"circuit-{name}", title=name, caption=caption, circuit=shown, scores=scores, width=540
            ))  # fmt: skip
        text = (
            "Layers from the input, at the bottom, to the logits. Hovering names an edge. A negative score: "
            "corrupting the edge lowers the metric. The whole circuits are files of the run "
            "(circuits/circuit-NAME.json, .dot, .svg)."
        )
        return Section("The circuits", [text], figures)

    def _heads(self) -> Section:
        chart = curve_chart(
            [*evidence.beside_random(self.heads, "heads")],
            x_name="heads kept, with all MLPs",
            y_name="faithfulness",
        )
        functions: list[Table] = []
        if self.run.has_table("function_overlap"):
            shared, effects = (self.run.table(name) for name in ("function_overlap", "function_heads"))
            functions = evidence.function_heads(shared, effects)
        return evidence.heads(self.heads, self.circuits, self.on, chart, functions)

    def _largest(self) -> Table:
        methods = self.circuits[["behaviour", "method"]]
        chosen = self.scores.merge(methods, on=["behaviour", "method"])
        chosen = chosen.groupby("behaviour", sort=False).head(20)
        caption = "The 20 edges of the largest scores, by the method that the circuit was found with"
        return Table.of(chosen, ["behaviour", "method", "edge", "score"], "largest edges", caption)

    def _verdict(self) -> str:
        rows = self.circuits.to_dict("records")
        if len(rows) > SAID_ONE_BY_ONE:
            kept = [f"{count(r['edges'])} keep {number(r['faithfulness'])} of {r['behaviour']}" for r in rows]
            return (
                f"On held-out pairs, of {count(self.n_edges)} edges {listed(kept)}; random circuits of these "
                f"sizes keep at most {number(self.circuits['random'].max())}."
            )
        said = [
            f"{count(row['edges'])} edges keep {with_interval(Estimate.of(row, 'faithfulness'))} of "
            f"{row['behaviour']} (random circuits {measured(Estimate.of(row, 'random'))})"
            for row in rows
        ]
        return f"Of {count(self.n_edges)} edges, on held-out pairs, {listed(said)}."


def listed(words: Sequence[str]) -> str:
    """Joins words with commas and, at last, `and`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
