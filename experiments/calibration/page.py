"""The page of `calibration`: which score to trust when a description is chosen."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from interp.descriptions.population import NAME as PATTERNS
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import interval, measured
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.page import ExperimentPage
from .candidates import FOREIGN, MEAGRE, OTHER, TRUE
from .config import Config

NAMES: Mapping[Role, str] = {"b": "scores", "null": "shuffled scores (null)"}


class CalibrationPage(ExperimentPage[Config]):
    """Shows how well each score ranks descriptions by their truth, and what choosing by it yields."""

    words = (
        ("Known truth", "A probe was trained to detect one labelled concept; a neuron or latent is used if "
         "it detects one well. The truth of a description is how well the activations that it predicts "
         "detect that concept's tokens (AUROC)."),
        ("Rank correlation", "Spearman's, between a score and the truth, over the descriptions of one "
         "feature."),
        ("Pairs in order", "The share of pairs of descriptions of one feature that a score orders rightly."),
        ("Truth of the chosen", "The truth of the highest-scoring description: what best-of-n yields."),
        ("Simulation", "Correlation of predicted with true activations, on strong windows, random ones, or "
         "both."),
        ("Detection", "Does the description fit texts with the feature rather than texts without it?"),
        ("Fuzzing", "Does the description fit the tokens that fire rather than other tokens of the same "
         "texts?"),
        ("Intervention", "Does the description fit what the model writes when the feature is clamped high?"),
    )  # fmt: skip
    limits = (
        "The truth is about the one concept that a feature detects best; whatever else the feature does "
        "counts as wrong.",
        "Pattern descriptions are simulated by their patterns, definitions by the labels: unless the run "
        "names a language model, mistakes in reading words are not included.",
        "One model, one corpus, one seed; intervals are over features.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.ranks, self.candidates = run.table("calibration"), run.table("candidates")

    def question(self) -> str:
        return f"Which score recognises a true description of a feature of {self.subject.name}?"

    def opening(self) -> Sequence[str]:
        return [
            "Features whose meaning is known were given descriptions of every quality: the true "
            "definition, definitions of other concepts, and patterns from their own evidence, from little "
            "of it, and from that of other features.",
            "Every automatic score ranked the descriptions of each feature, without seeing the truth.",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        title = "Rank correlation of each score with the truth"
        return Figure("ranking", title, self.measured_on("all"), self.ranking("all"))

    def sections(self) -> Sequence[Section]:
        return [self._choice(), self._best_of(), self._kinds(), self._pool(), self._all()]

    def measured_on(self, among: str) -> str:
        """Says on how many descriptions, features and splits the numbers are measured."""
        part = self._part(among, "all")
        return (
            f"{part['candidates'].max()} descriptions of {part['features'].max()} features; scores on the "
            f"select split, truth on the report split; seed {self.config.seed}; whiskers: 95% intervals over "
            "features"
        )

    def _part(self, among: str, kind: str) -> pd.DataFrame:
        return self.ranks[(self.ranks["among"] == among) & (self.ranks["kind"] == kind)]

    def _verdict(self) -> str:
        rows = sorted(self._part("all", "all").to_dict("records"), key=lambda row: -row["spearman"])
        best, worst = rows[0], rows[-1]
        first, last = (Estimate.of(row, "spearman") for row in (best, worst))
        return (
            f"{best['score'].capitalize()} follows the truth most closely (rank correlation "
            f"{measured(first)}, {interval(first)}), {worst['score']} least ({measured(last)}, "
            f"{interval(last)}); choosing by the best reaches a mean truth of "
            f"{measured(Estimate.of(best, 'chosen'))} where a random choice reaches "
            f"{measured(Estimate.of(best, 'at_random'))}."
        )

    def _choice(self) -> Section:
        return Section(
            "What choosing by each score yields",
            ["Grey: a description chosen at random. The best possible truth is 1, that of the definition."],
            [
                Figure(
                    "chosen", "Truth of the chosen description", self.measured_on("all"), self.chosen("all")
                )
            ],
        )

    def _best_of(self) -> Section:
        measured_on = self.measured_on("patterns")
        figures = [
            Figure("ranking_patterns", "Rank correlation", measured_on, self.ranking("patterns")),
            Figure(
                "chosen_patterns",
                "Truth of the chosen description",
                measured_on,
                self.chosen("patterns"),
            ),
        ]
        return Section(
            "Among descriptions of the same evidence",
            ["Best of n: only descriptions from the feature's own evidence compete, and they differ little."],
            figures,
        )

    def _kinds(self) -> Section:
        shown = self.ranks[(self.ranks["among"] == "all") & (self.ranks["kind"] != "all")]
        columns = (
            Column("features of kind", of="kind"), "score", Column("rank correlation", of="spearman"),
            Column("pairs in order", of="pairs"), Column("truth of the chosen", of="chosen"),
            Column("features", places=0),
        )  # fmt: skip
        table = Table.of(shown, columns, "by kind", "The same for each kind of feature")
        return Section("Kind by kind", ["Few features make wide intervals."], (), [table])

    def _pool(self) -> Section:
        scores = [str(name) for name in self.candidates if str(name).startswith("score: ")]
        columns = [
            Column("description"),
            Column("n", places=0),
            Column("truth"),
            *(Column(s[7:]) for s in scores),
        ]
        rows: list[list[Cell]] = []
        for explainer in (TRUE, PATTERNS, MEAGRE, OTHER, FOREIGN):
            part = self.candidates[self.candidates["explainer"] == explainer]
            if len(part):
                rows.append(
                    [
                        explainer,
                        len(part),
                        float(part["truth"].mean()),
                        *(float(part[s].mean()) for s in scores),
                    ]
                )
        table = Table("pool", "Means over the descriptions of each kind", columns, rows)
        return Section("The descriptions that competed", (), (), [table])

    def _all(self) -> Section:
        columns = (
            "score", Column("rank correlation", of="spearman"), Column("null, low", of="null_low"),
            Column("null, high", of="null_high"), Column("pairs in order", of="pairs"),
            Column("truth of the chosen", of="chosen"), "regret", Column("undefined", places=0),
        )  # fmt: skip
        ranked = self._part("all", "all").sort_values("spearman", ascending=False)
        caption = "Every score against the truth, all candidates"
        table = Table.of(ranked, columns, "calibration", caption)
        return Section("The headline table", [self.measured_on("all") + "."], (), [table])

    def ranking(self, among: str) -> Draw:
        """Draws the rank correlations of all scores, best first, beside their null."""
        rows = []
        for row in self._sorted(among):
            middle = (row["null_low"] + row["null_high"]) / 2
            null = Estimate(middle, row["null_low"], row["null_high"])
            rows.append(
                EstimateRow(row["score"], [Entry("b", Estimate.of(row, "spearman")), Entry("null", null)])
            )
        return estimate_chart(rows, x_name="rank correlation with the truth", names=NAMES)

    def chosen(self, among: str) -> Draw:
        """Draws the truth of what each score chooses, beside a random choice."""
        rows = [
            EstimateRow(
                row["score"],
                [Entry("b", Estimate.of(row, "chosen")), Entry("null", Estimate.of(row, "at_random"))],
            )
            for row in self._sorted(among)
        ]
        names: Mapping[Role, str] = {"b": "chosen by the score", "null": "chosen at random"}
        return estimate_chart(rows, x_name="truth (AUROC)", names=names, null=None)

    def _sorted(self, among: str) -> list[dict[Hashable, Any]]:
        part = self._part(among, "all").sort_values("spearman", ascending=False)
        return part.to_dict("records")
