"""The page of `knowledge_neurons`, filled from what its steps wrote."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.knowledge_neurons.config import Config
from interp.causal.effects import RANDOM, TOGETHER
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import interval, measured, number
from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Page, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

HALF = 540  # pixels of a figure that stands beside another
NAMES: Mapping[Role, str] = {"a": "knowledge neurons", "null": "random features"}
WORDS = (
    ("Answer and foil", "The token that is right next, and one of the same kind that would be wrong."),
    ("Attribution", "Integrated gradients of the answer's probability, from zero to the features' values, at "
     "the last token, all features of a layer together."),
    ("Knowledge neuron", "A feature whose attribution passes a part of the largest, on most prompts."),
    ("Erase, enhance", "Set a feature to zero, or multiply it."),
    ("Flip", "After the change the foil is likelier than the answer, where it was not before."),
    ("Nats", "Differences of natural logarithms of probabilities: +0.69 doubles a probability."),
)  # fmt: skip
LIMITS = (
    "Prompts of one group are alike; intervals take them as independent.",
    "A shift does not show that a feature stores the answer, nor a missing flip that it does not.",
)


class KnowledgePage:
    """The tables of a run, and the pieces of the page made from them."""

    def __init__(self, run: Run, subject: Subject, config: Config, groups: Sequence[str]) -> None:
        self.run, self.subject, self.config, self.groups = run, subject, config, groups
        self.found, self.flips = (run.table(name) for name in ("knowledge_neurons", "flips"))
        n = "not measured" if self.flips.empty else f"{int(self.flips['questions'].max())} prompts a group"
        self.measured_on = f"{n}, on which nothing was searched; seed {config.seed}; whiskers: 95% intervals."

    def page(self) -> Page:
        """The whole page."""
        counts = []
        for group in self.groups:
            n, share = int((self.found["group"] == group).sum()), self.run.metrics[f"search/{group}/share"]
            counts.append(f"{n} by {share:.0%} of the prompts of {group}")
        return Page(
            f"Do the neurons that carry an answer decide it in {self.subject.name}?",
            [
                f"Integrated gradients say from which neurons of {self.subject.name} an answer's probability "
                f"comes; shared are {', '.join(counts)}.",
                "They were erased and enhanced on other prompts, and so were random features that are about "
                "as active (grey).",
                self._verdict(),
            ],
            Figure(
                "foil",
                "Change in the probability of the wrong answer",
                self.measured_on,
                self._shifts("foil"),
            ),
            [self._moved(), self._flipped(), self._neurons()],
            WORDS,
            LIMITS,
            subject_facts(self.subject),
            run_facts(self.run),
            step_seconds(self.run),
        )

    def _moved(self) -> Section:
        figures = [
            Figure("answer", "Probability of the answer", self.measured_on, self._shifts("answer"), HALF),
            Figure("foil", "Probability of the foil", self.measured_on, self._shifts("foil"), HALF),
        ]
        text = "Mean change of the log-probability; zero is no change, and each 0.69 a factor of two."
        return Section("The shift in probability", [text], figures, [self._table()])

    def _flipped(self) -> Section:
        figures = [
            Figure(
                "flips",
                "The foil becomes likelier than the answer",
                self.measured_on,
                self._shares("flips"),
                HALF,
            ),
            Figure(
                "top_flips",
                "The likeliest token becomes a foil",
                self.measured_on,
                self._shares("top_flips"),
                HALF,
            ),
        ]
        text = "Shares of the prompts on which it was not so before."
        return Section("How often the answer flips", [text], figures)

    def _neurons(self) -> Section:
        columns = [
            Column("group"),
            Column("feature"),
            Column("shared by", "% of prompts"),
            Column("attribution"),
        ]
        rows = [
            [row["group"], row["feature"], 100 * row["share"], row["attribution"]]
            for row in self.found.to_dict("records")
        ]
        table = Table(
            "knowledge neurons", "Found on the half of the prompts that is not reported on", columns, rows
        )
        return Section(
            "The neurons", ["Attribution is a share of probability, the mean over prompts."], (), [table]
        )

    def _table(self) -> Table:
        columns = [
            Column("features of"), Column("on"), Column("what"), Column("which"), Column("answer", "nats"),
            Column("foil", "nats"), Column("flips"), Column("top flips"), Column("prompts", places=0),
        ]  # fmt: skip
        rows = [
            [row["of"], row["group"], row["how"], NAMES["a" if row["set"] == TOGETHER else "null"],
             *(Estimate.of(row, name) for name in ("answer", "foil", "flips", "top_flips")), row["questions"]]
            for row in self.flips.to_dict("records")
        ]  # fmt: skip
        return Table("shifts and flips", "Each change on the prompts of every group", columns, rows)

    def _verdict(self) -> str:
        own = [r for r in self.flips.to_dict("records") if r["of"] == r["group"] and r["how"] == "erase"]
        said = []
        for group in self.groups:
            rows = {row["set"]: row for row in own if row["group"] == group}
            if not rows:
                said.append(f"for {group} no neuron is shared by enough prompts")
                continue
            erased, random = rows[TOGETHER], rows[RANDOM]
            factor = Estimate(*(math.exp(erased[f"foil{end}"]) for end in ("", "_low", "_high")))
            flipped = Estimate.of(erased, "flips")
            said.append(
                f"erasing those of {group} multiplies the foil's probability by {measured(factor)} "
                f"({interval(factor)}; random features {number(math.exp(random['foil']))}) and flips "
                f"{measured(flipped)} ({interval(flipped)}) of the answers"
            )
        text = "; ".join(said)
        return f"{text[:1].upper()}{text[1:]}."

    def _shifts(self, column: str) -> Draw:
        rows = self._rows(column)
        return estimate_chart(rows, x_name="change (nats)", names=NAMES)

    def _shares(self, column: str) -> Draw:
        rows = self._rows(column)
        return estimate_chart(rows, x_name="share of prompts", names=NAMES)

    def _rows(self, column: str) -> list[EstimateRow]:
        """A row for each way to change a group's features, on the prompts of that group."""
        table: dict[str, dict[str, Mapping[str, Any]]] = {}
        for row in self.flips.to_dict("records"):
            if row["of"] == row["group"]:
                table.setdefault(f"{row['group']}, {row['how']}", {})[row["set"]] = row
        return [
            EstimateRow(
                label,
                [
                    Entry("a", Estimate.of(rows[TOGETHER], column)),
                    Entry("null", Estimate.of(rows[RANDOM], column)),
                ],
            )
            for label, rows in table.items()
        ]
