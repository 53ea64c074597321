"""The page of `attribution_quality`."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from interp.attribution.agreement import NOT_METHODS
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.charts.scatter import scatter_chart
from interp.render.digits import count, number, with_interval
from interp.render.figure import Figure
from interp.render.page import Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.page import ExperimentPage
from .config import Config

PATCHING = "attribution patching"
SQUARE = 460  # pixels of a figure as high as wide
MEASURES = {
    "spearman": "Spearman correlation of the rankings",
    "sign": "share with the right sign",
    "top": "share of the largest effects found",
}
NAMES: Mapping[Role, str] = {"a": "approximation", "null": "the same values in random order"}


class QualityPage(ExperimentPage[Config]):
    """Shows how well approximations agree with exact effects."""

    words = (
        ("Effect", "The target on the unchanged prompt minus the target after an ablation; for patching, "
         "the target with a patch minus that without."),
        ("Target", "The logit of the answer minus that of a wrong answer; its log-probability where there "
         "is none."),
        ("Gradient", "(Activation minus baseline) times the gradient of the target with respect to it: one "
         "forward and one backward pass."),
        ("Integrated", "The gradient averaged along the path from the baseline, one layer at a time "
         "(each) or all layers together (jointly)."),
        ("Strongest, random", "Features at positions that an approximation ranks highest, or that are "
         "drawn uniformly."),
        ("Attribution patching", "The difference between two prompts' activations, times the gradient."),
        ("Sign", "Compared only where the exact effect exceeds 1% of the largest."),
        ("Interval", "95%, by bootstrap over prompts or pairs."),
    )  # fmt: skip
    limits = (
        "The strongest features are those that some approximation ranks highest; what all of them miss can "
        "only show among the random ones.",
        "Features whose effect is exactly zero tie, which lowers a rank correlation.",
        "The targets come from a few kinds of prompts, and from one model.",
    )

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.model = subject.name
        self.agreement, self.ablation, self.patching = (
            run.table(name) for name in ("agreement", "ablation", "patching")
        )
        self.rows = self.agreement.to_dict("records")
        prompts, pairs = self.ablation["prompt"].nunique(), self.patching["pair"].nunique()
        self.ablations, self.patches = count(len(self.ablation)), count(len(self.patching))
        self.measured_on = (
            f"{self.ablations} ablations on {prompts} prompts, {self.patches} patches on {pairs} pairs; "
            f"seed {config.seed}; whiskers: 95% intervals."
        )

    def question(self) -> str:
        """What was asked."""
        return f"How far can attribution be trusted in {self.model}?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        groups = ", ".join(dict.fromkeys(self.ablation["group"]))
        ranked = sorted(self.rows, key=lambda row: row["spearman"])
        said = [
            f"{word} by {_name(row)}, with {with_interval(Estimate.of(row, 'spearman'))}"
            for word, row in (("best", ranked[-1]), ("worst", ranked[0]))
        ]
        null = max(abs(row["spearman_random"]) for row in self.rows)
        return (
            "Attribution estimates from gradients what changing a feature would do; here each estimate is "
            f"compared with what the change really does, on prompts of {groups}.",
            f"{self.ablations} features at positions were ablated one at a time, and {self.patches} patches "
            "made; the same estimates in random order show what chance scores (grey).",
            f"The effects are ranked {'; '.join(said)}; random order reaches {number(null)} at most.",
        )

    def headline(self) -> Figure:
        """Rank correlations."""
        return self._agreement("spearman", "How well each approximation ranks the effects")

    def sections(self) -> Sequence[Section]:
        """Shows the other measures, every effect, and the tables."""
        measures = [self._agreement(name, MEASURES[name].capitalize()) for name in ("sign", "top")]
        weighed = (
            "Rank correlation weighs all effects equally; these two measure signs, and the largest effects."
        )
        exact = "Points on the line are exact. Both axes are in units of the target."
        methods = [str(column) for column in self.ablation if column not in NOT_METHODS]
        ablation = [self._scatter("ablation", name, self.ablation, name) for name in methods]
        patching = [
            self._scatter("patching", str(kind), part, PATCHING)
            for kind, part in self.patching.groupby("kind", sort=False)
        ]
        of_patches = Section("Patching: attribution patching against the exact effect", [exact], patching)
        return (
            Section("Signs and the largest effects", [weighed], measures),
            Section("Ablation: approximation against exact effect", [exact], ablation),
            *([of_patches] if patching else []),
            Section("The figures", tables=[self._table()]),
        )

    def _agreement(self, measure: str, title: str) -> Figure:
        rows = [
            EstimateRow(_name(row), [Entry("a", Estimate.of(row, measure)),
                                     Entry("null", Estimate.of(row, f"{measure}_random"))])
            for row in self.rows
        ]  # fmt: skip
        null = 0.0 if measure == "spearman" else None
        drawn = estimate_chart(rows, x_name=MEASURES[measure], names=NAMES, null=null)
        return Figure(measure, title, self.measured_on, drawn)

    def _scatter(self, change: str, name: str, table: pd.DataFrame, method: str) -> Figure:
        pairs = list(zip(table["exact"].astype(float), table[method].astype(float), strict=True))
        drawn = scatter_chart(pairs, role="a", x_name="exact effect", y_name=method)
        return Figure(f"{change} {name}", name, self.measured_on, drawn, SQUARE)

    def _table(self) -> Table:
        columns: list[Column | str] = [
            "effects", "approximation", Column("Spearman", of="spearman"),
            Column("random", of="spearman_random"), "sign", Column("random", of="sign_random"),
            Column("largest found", of="top"), Column("random", of="top_random"), Column("n", places=0),
        ]  # fmt: skip
        caption = (
            "Agreement of every approximation with the exact effects, and of the same values in random order"
        )
        return Table.of(self.agreement, columns, "agreement", caption)


def _name(row: Mapping[Hashable, Any]) -> str:
    """Names the effects and their approximation; patches have only one."""
    return row["effects"] if row["approximation"] == PATCHING else f"{row['effects']}: {row['approximation']}"
