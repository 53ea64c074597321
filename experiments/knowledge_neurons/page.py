"""The page of `knowledge_neurons`."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interp.causal.effects import RANDOM, TOGETHER
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import number, with_interval
from interp.render.figure import Figure
from interp.render.page import Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.page import ExperimentPage
from .config import Config

NAMES: Mapping[Role, str] = {"a": "knowledge neurons", "null": "random features"}
SHIFT, SHARE = "change (nats)", "share of prompts"
SAID_ONE_BY_ONE = 3  # most groups of which the verdict tells each


class KnowledgePage(ExperimentPage[Config]):
    """Shows what erasing and enhancing the neurons does, beside random features."""

    words = (
        ("Answer and foil", "The token that is right next, and one of the same kind that would be wrong."),
        ("Attribution", "Integrated gradients of the answer's probability, from zero to the features' "
         "values, at the last token, for all features of a layer together."),
        ("Knowledge neuron", "A feature whose attribution exceeds a share of the largest, on most prompts."),
        ("Erase, enhance", "Set a feature to zero, or multiply it."),
        ("Flip", "After the change the foil is likelier than the answer, where it was not before."),
        ("Nats", "Differences of natural logarithms of probabilities: +0.69 doubles a probability."),
    )  # fmt: skip
    limits = (
        "Prompts of one group are alike; intervals treat them as independent.",
        "A shift does not show that a feature stores the answer, nor a missing flip that it does not.",
    )

    def __init__(self, run: Run, config: Config, subject: Subject, groups: Sequence[str]) -> None:
        super().__init__(run, config, subject)
        self.groups, self.model = groups, subject.name
        self.found, self.flips = (run.table(name) for name in ("knowledge_neurons", "flips"))
        n = "not measured" if self.flips.empty else f"{int(self.flips['questions'].max())} prompts a group"
        self.measured_on = f"{n}, none of them searched on; seed {config.seed}; whiskers: 95% intervals."

    def question(self) -> str:
        """What was asked."""
        return f"Do the neurons that carry an answer decide it in {self.model}?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        counts = []
        for group in self.groups:
            n, share = int((self.found["group"] == group).sum()), self.run.metrics[f"search/{group}/share"]
            counts.append(f"{n} by {share:.0%} of the prompts of {group}")
        return (
            f"Integrated gradients attribute an answer's probability to neurons of {self.model}; "
            f"shared are {', '.join(counts)}.",
            "They were erased and enhanced on other prompts, and so were random features that are about as "
            "active (grey).",
            self._verdict(),
        )

    def headline(self) -> Figure:
        """Draws the shift towards the wrong answer."""
        return self._changes("foil", "Change in the probability of the wrong answer", SHIFT)

    def sections(self) -> Sequence[Section]:
        """Shifts, flips, neurons."""
        shift = "Mean change of the log-probability; zero is no change, +0.69 doubles the probability."
        shifts = [
            self._changes("answer", "Probability of the answer", SHIFT),
            self._changes("foil", "Probability of the foil", SHIFT),
        ]
        flips = [
            self._changes("flips", "The foil becomes likelier than the answer", SHARE),
            self._changes("top_flips", "The likeliest token becomes a foil", SHARE),
        ]
        return (
            Section("The shift in probability", [shift], shifts, self._table()),
            Section(
                "How often the answer flips", ["Shares of the prompts on which it was not so before."], flips
            ),
            Section(
                "The neurons",
                ["Attribution is in units of probability, as the mean over prompts."],
                tables=[self._neurons()],
            ),
        )

    def _changes(self, measure: str, title: str, x_name: str) -> Figure:
        """Draws a row for each way to change a group's features, on the prompts of that group."""
        table: dict[str, dict[str, Mapping[Hashable, Any]]] = {}
        for row in self.flips.to_dict("records"):
            if row["of"] == row["group"]:
                table.setdefault(f"{row['group']}, {row['how']}", {})[row["set"]] = row
        rows = [
            EstimateRow(label, [Entry("a", Estimate.of(changed[TOGETHER], measure)),
                                Entry("null", Estimate.of(changed[RANDOM], measure))])
            for label, changed in table.items()
        ]  # fmt: skip
        return Figure(measure, title, self.measured_on, estimate_chart(rows, x_name=x_name, names=NAMES))

    def _neurons(self) -> Table:
        columns: list[Column | str] = [
            "group",
            "feature",
            Column("shared by", "% of prompts", of="percent"),
            "attribution",
        ]
        found = self.found.assign(percent=100 * self.found["share"])
        caption = "Found on the other half of the prompts"
        return Table.of(found, columns, "knowledge neurons", caption)

    def _table(self) -> list[Table]:
        if self.flips.empty:
            return []
        columns: list[Column | str] = [
            Column("features of", of="of"), Column("on", of="group"), Column("what", of="how"), "which",
            Column("answer", "nats"), Column("foil", "nats"), "flips", Column("top flips", of="top_flips"),
            Column("prompts", places=0, of="questions"),
        ]  # fmt: skip
        which = np.where(self.flips["set"] == TOGETHER, NAMES["a"], NAMES["null"])
        caption = "Each change on the prompts of every group"
        return [Table.of(self.flips.assign(which=which), columns, "shifts and flips", caption)]

    def _verdict(self) -> str:
        own = [r for r in self.flips.to_dict("records") if r["of"] == r["group"] and r["how"] == "erase"]
        if len(self.groups) > SAID_ONE_BY_ONE and own:
            return self._over_groups(pd.DataFrame(own))
        said = []
        for group in self.groups:
            rows = {row["set"]: row for row in own if row["group"] == group}
            if not rows:
                said.append(f"for {group} no neuron is shared by enough prompts")
                continue
            erased, random = rows[TOGETHER], rows[RANDOM]
            factor = Estimate(*map(math.exp, Estimate.of(erased, "foil")))
            said.append(
                f"erasing those of {group} multiplies the foil's probability by {with_interval(factor)}, "
                f"random features by {number(math.exp(random['foil']))}, and flips "
                f"{with_interval(Estimate.of(erased, 'flips'))} of the answers"
            )
        text = "; ".join(said)
        return f"{text[:1].upper()}{text[1:]}."

    def _over_groups(self, own: pd.DataFrame) -> str:
        erased, random = (own[own["set"] == one] for one in (TOGETHER, RANDOM))
        ranked = erased.sort_values("answer", key=abs)
        (least, smallest), (most, largest) = ranked[["group", "answer"]].to_numpy()[[0, -1]].tolist()
        return (
            f"Erasing a group's own neurons changes its answer by {number(erased['answer'].mean())} nats on "
            f"average ({least} {number(smallest)}, {most} {number(largest)}), random features by "
            f"{number(random['answer'].mean())}, and flips {number(erased['flips'].mean())} of the answers."
        )
