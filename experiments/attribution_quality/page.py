"""The page of `attribution_quality`, filled from what its steps wrote."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from experiments.attribution_quality.config import Config
from interp.attribution.agreement import NOT_METHODS
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.charts.scatter import scatter_chart
from interp.render.digits import count, interval, measured, number
from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Page, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

PATCHING = "attribution patching"
HALF = 540  # pixels of a figure that stands beside another
SQUARE = 460
MEASURES = {
    "spearman": "Spearman correlation of the rankings",
    "sign": "share with the right sign",
    "top": "share of the largest effects found",
}
NAMES: Mapping[Role, str] = {"a": "approximation", "null": "the same values in random order"}
WORDS = (
    ("Effect", "The target on the unchanged prompt less that after an ablation; for patching, that with a "
     "patch less that without."),
    ("Target", "The logit of the answer less that of a wrong one; the log-probability where there is none."),
    ("Gradient", "Activation, less the baseline, times the gradient by it: one forward, one backward pass."),
    ("Integrated", "The gradient averaged on the way from the baseline, layer by layer (each) or jointly."),
    ("Strongest, random", "Features at positions that an approximation calls strongest, or drawn uniformly."),
    ("Attribution patching", "The difference of two prompts' activations times the gradient."),
    ("Sign", "Counted where the exact effect exceeds 1% of the largest."),
    ("Interval", "95%, by bootstrap over prompts or pairs."),
)  # fmt: skip
LIMITS = (
    "The strongest features are those that an approximation calls so; what all of them miss can only show "
    "among the random ones.",
    "Features whose effect is exactly zero tie, which lowers a rank correlation.",
    "The targets are those of a few kinds of prompts of one model.",
)


class QualityPage:
    """The tables of a run, and the pieces of the page made from them."""

    def __init__(self, run: Run, subject: Subject, config: Config) -> None:
        self.run, self.subject, self.config = run, subject, config
        self.agreement, self.ablation, self.patching = (
            run.table(name) for name in ("agreement", "ablation", "patching")
        )
        self.rows: list[Mapping[str, Any]] = self.agreement.to_dict("records")
        prompts, pairs = self.ablation["prompt"].nunique(), self.patching["pair"].nunique()
        self.ablations, self.patches = count(len(self.ablation)), count(len(self.patching))
        self.measured_on = (
            f"{self.ablations} ablations on {prompts} prompts, {self.patches} patches on {pairs} pairs; "
            f"seed {config.seed}; whiskers: 95% intervals."
        )

    def page(self) -> Page:
        """The whole page."""
        groups = ", ".join(dict.fromkeys(self.ablation["group"]))
        return Page(
            f"How far can attribution be trusted in {self.subject.name}?",
            [
                "Gradients guess what a change of a feature would do; here each guess stands beside what the "
                f"change really does, on prompts of {groups}.",
                f"{self.ablations} features at positions were ablated one at a time, and {self.patches} "
                "patches made; the same guesses in random order show what chance scores (grey).",
                self._verdict(),
            ],
            Figure(
                "spearman",
                "How well each approximation ranks the effects",
                self.measured_on,
                self._estimates("spearman"),
            ),
            [self._measures(), *self._scatters(), self._table()],
            WORDS,
            LIMITS,
            subject_facts(self.subject),
            run_facts(self.run),
            step_seconds(self.run),
        )

    def _measures(self) -> Section:
        figures = [
            Figure(name, said[:1].upper() + said[1:], self.measured_on, self._estimates(name), HALF)
            for name, said in MEASURES.items()
            if name != "spearman"
        ]
        text = (
            "Rank correlation weighs all effects alike; these two look at signs, and at the largest effects."
        )
        return Section("Signs and the largest effects", [text], figures)

    def _scatters(self) -> list[Section]:
        text = "On the line, the approximation is exact. Units are the target's."
        methods = [column for column in self.ablation if column not in NOT_METHODS]
        ablation = [
            Figure(f"ablation {name}", name, self.measured_on, _scatter(self.ablation, name), SQUARE)
            for name in methods
        ]
        sections = [Section("Ablation: approximation against exact effect", [text], ablation)]
        patching = [
            Figure(f"patching {kind}", kind, self.measured_on, _scatter(part, PATCHING), SQUARE)
            for kind, part in self.patching.groupby("kind", sort=False)
        ]
        if patching:
            sections.append(
                Section("Patching: attribution patching against the exact effect", [text], patching)
            )
        return sections

    def _table(self) -> Section:
        columns = [
            Column("effects"), Column("approximation"), Column("Spearman"), Column("random"), Column("sign"),
            Column("random"), Column("largest found"), Column("random"), Column("n", places=0),
        ]  # fmt: skip
        rows = [
            [row["effects"], row["approximation"],
             *(Estimate.of(row, measure + end) for measure in MEASURES for end in ("", "_random")), row["n"]]
            for row in self.rows
        ]  # fmt: skip
        caption = (
            "Agreement of every approximation with the exact effects, and of the same values in random order"
        )
        return Section("The figures", (), (), [Table("agreement", caption, columns, rows)])

    def _verdict(self) -> str:
        ranked = sorted(self.rows, key=lambda row: row["spearman"])
        said = []
        for word, row in (("best", ranked[-1]), ("worst", ranked[0])):
            found = Estimate.of(row, "spearman")
            said.append(f"{word} by {_name(row)}, with {measured(found)} ({interval(found)})")
        null = max(abs(row["spearman_random"]) for row in self.rows)
        return f"The effects are ranked {'; '.join(said)}; random order reaches {number(null)} at most."

    def _estimates(self, measure: str) -> Draw:
        rows = [
            EstimateRow(
                _name(row),
                [
                    Entry("a", Estimate.of(row, measure)),
                    Entry("null", Estimate.of(row, f"{measure}_random")),
                ],
            )
            for row in self.rows
        ]
        name = MEASURES[measure]
        null = 0.0 if measure == "spearman" else None
        return estimate_chart(rows, x_name=name, names=NAMES, null=null)


def _name(row: Mapping[str, Any]) -> str:
    """The effects and what approximates them; patches have one approximation."""
    return row["effects"] if row["approximation"] == PATCHING else f"{row['effects']}: {row['approximation']}"


def _scatter(table: pd.DataFrame, method: str) -> Draw:
    pairs = [(float(x), float(y)) for x, y in zip(table["exact"], table[method], strict=True)]
    return scatter_chart(pairs, role="a", x_name="exact effect", y_name=method)
