"""The page of `calibration`: which score to trust when a description is chosen."""

from collections.abc import Mapping

import pandas as pd

from experiments.calibration.candidates import FOREIGN, MEAGRE, OTHER, TRUE
from experiments.calibration.config import Config
from interp.descriptions.explainers.patterns import NAME as PATTERNS
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import interval, measured
from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Page, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

HALF = 540
NAMES: Mapping[Role, str] = {"b": "scores", "null": "scores dealt anew (null)"}
WORDS = (
    ("Known truth", "A probe was trained to tell one labelled concept; a neuron or latent counts where "
     "it tells one well. A description is as true as what it predicts tells that concept's tokens (AUROC)."),
    ("Rank correlation", "Spearman's, between a score and the truth, over the descriptions of one feature."),
    ("Pairs in order", "The share of pairs of descriptions of a feature that a score orders rightly."),
    ("Truth of the chosen", "That of the description with the largest score: what best-of-n ends with."),
    ("Simulation", "Correlation of predicted with true activations: on strong windows, random ones, both."),
    ("Detection", "Does the description fit texts with the feature rather than texts without it?"),
    ("Fuzzing", "Does the description fit the tokens that fire rather than other tokens of the same texts?"),
    ("Intervention", "Does the description fit what the model writes when the feature is held high?"),
)  # fmt: skip
LIMITS = (
    "The truth is that of the concept that a feature tells best; what else a feature does counts as wrong.",
    "Descriptions by patterns are simulated by their patterns, definitions by the labels: a language model's "
    "mistakes in reading words come on top, unless the run names one.",
    "One model, one corpus, one seed; intervals are over features.",
)


class CalibrationPage:
    """The tables of a run, and the page made from them."""

    def __init__(self, run: Run, subject: Subject, config: Config) -> None:
        self.run, self.subject, self.config = run, subject, config
        self.ranks = run.table("calibration")
        self.candidates = run.table("candidates")

    def measured_on(self, among: str) -> str:
        """On what the figures are measured."""
        part = self._part(among, "all")
        return (
            f"{part['candidates'].max()} descriptions of {part['features'].max()} features; scores on the "
            f"select split, truth on the report split; seed {self.config.seed}; whiskers: 95% intervals over "
            "features"
        )

    def page(self) -> Page:
        """The whole page."""
        return Page(
            f"Which score knows a true description of a feature of {self.subject.name}?",
            [
                "Features whose meaning is known were given descriptions of every quality: the true "
                "definition, those of other concepts, patterns from their own evidence, from little of it "
                "and from that of others.",
                "Every automatic score ranked the descriptions of each feature, without seeing the truth.",
                self._verdict(),
            ],
            Figure(
                "ranking",
                "Rank correlation of each score with the truth",
                self.measured_on("all"),
                self.ranking("all"),
            ),
            [self._choice(), self._best_of(), self._kinds(), self._pool(), self._all()],
            WORDS,
            LIMITS,
            subject_facts(self.subject),
            run_facts(self.run),
            step_seconds(self.run),
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
            "What choosing by each score ends with",
            ["Grey: a description chosen at random. The best there is has the truth of 1, the definition."],
            [
                Figure(
                    "chosen", "Truth of the chosen description", self.measured_on("all"), self.chosen("all")
                )
            ],
        )

    def _best_of(self) -> Section:
        measured_on = self.measured_on("patterns")
        figures = [
            Figure("ranking_patterns", "Rank correlation", measured_on, self.ranking("patterns"), HALF),
            Figure(
                "chosen_patterns",
                "Truth of the chosen description",
                measured_on,
                self.chosen("patterns"),
                HALF,
            ),
        ]
        return Section(
            "Among descriptions of the same evidence",
            ["Best of n: only what the feature's own evidence gave competes, and it differs little."],
            figures,
        )

    def _kinds(self) -> Section:
        kinds = [kind for kind in dict.fromkeys(self.ranks["kind"]) if kind != "all"]
        names = ("features of kind", "score", "rank correlation", "pairs in order", "truth of the chosen")
        columns = [*map(Column, names), Column("features", places=0)]
        rows = [
            [kind, row["score"], *(Estimate.of(row, name) for name in ("spearman", "pairs", "chosen")),
             row["features"]]
            for kind in kinds
            for row in self._part("all", kind).to_dict("records")
        ]  # fmt: skip
        table = Table("by kind", "The same for each kind of feature", columns, rows)
        return Section("Role by kind", ["Few features make wide intervals."], (), [table])

    def _pool(self) -> Section:
        scores = [str(name) for name in self.candidates if str(name).startswith("score: ")]
        columns = [
            Column("description"),
            Column("n", places=0),
            Column("truth"),
            *(Column(s[7:]) for s in scores),
        ]
        rows = []
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
        names = ("score", "rank correlation", "null, low", "null, high", "pairs in order")
        more = ("truth of the chosen", "regret")
        columns = [*map(Column, (*names, *more)), Column("undefined", places=0)]
        rows = [
            [row["score"], Estimate.of(row, "spearman"), row["null_low"], row["null_high"],
             *(Estimate.of(row, name) for name in ("pairs", "chosen", "regret")), row["undefined"]]
            for row in self._part("all", "all").sort_values("spearman", ascending=False).to_dict("records")
        ]  # fmt: skip
        table = Table("calibration", "Every score against the truth, all candidates", columns, rows)
        return Section("The headline table", [self.measured_on("all") + "."], (), [table])

    def ranking(self, among: str) -> Draw:
        """The rank correlations of all scores, best first, beside their null."""
        rows = []
        for row in self._sorted(among):
            middle = (row["null_low"] + row["null_high"]) / 2
            null = Estimate(middle, row["null_low"], row["null_high"])
            rows.append(
                EstimateRow(row["score"], [Entry("b", Estimate.of(row, "spearman")), Entry("null", null)])
            )
        return estimate_chart(rows, x_name="rank correlation with the truth", names=NAMES)

    def chosen(self, among: str) -> Draw:
        """The truth of what each score chooses, beside a random choice."""
        rows = [
            EstimateRow(
                row["score"],
                [Entry("b", Estimate.of(row, "chosen")), Entry("null", Estimate.of(row, "at_random"))],
            )
            for row in self._sorted(among)
        ]
        names: Mapping[Role, str] = {"b": "chosen by the score", "null": "chosen at random"}
        return estimate_chart(rows, x_name="truth (AUROC)", names=names, null=None)

    def _sorted(self, among: str) -> list[dict[str, object]]:
        part = self._part(among, "all").sort_values("spearman", ascending=False)
        return part.to_dict("records")
