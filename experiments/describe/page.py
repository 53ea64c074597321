"""The page of `describe`: how well each explainer's descriptions do, and what choosing adds."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from interp.document import Corpus
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import interval, measured
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate, mean_interval
from interp.subject import Subject
from interp.track.run import Run

from ..common.frames import groups
from ..common.page import ExperimentPage
from .config import Config

KINDS = ("simulation", "detection", "fuzzing", "intervention", "agreement")
_KIND = re.compile(rf"({'|'.join(KINDS)})( \d+)?")
"""A score; that of a further judge has its number."""
NAMES: Mapping[Role, str] = {"b": "descriptions", "null": "other features' descriptions (null)"}
CHOICE: Mapping[Role, str] = {"c": "on select, where it was chosen", "b": "chosen, on report",
                              "null": "first, on report"}  # fmt: skip


class DescribePage(ExperimentPage[Config]):
    """Shows the scores of each explainer's descriptions, and what choosing among several adds."""

    words = (
        ("Simulation", "Correlation of the activations predicted from a description with the true ones, "
         "on strong and random windows together."),
        ("Detection", "AUROC of a judge's ratings: texts with the feature against others (half hard)."),
        ("Fuzzing", "The same for marked tokens: those that fire against others of the same texts."),
        ("Intervention", "The same for what the model writes with the feature clamped, against without."),
        ("Agreement", "AUROC of predicted activations as a detector of the label that the feature detects "
         "best."),
        ("Optimism", "The score on the text that the description was chosen on, minus that on new text."),
    )  # fmt: skip
    limits = (
        "Intervals are over features; those of one model are not independent.",
        "Answers that could not be parsed are left out and counted, never scored as zero.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject, corpus: Corpus) -> None:
        super().__init__(run, config, subject)
        self.table = run.table("descriptions")
        self.explainers = list(dict.fromkeys(self.table["explainer"]))
        self.kinds = [name for name in map(str, self.table) if _KIND.fullmatch(name)]
        self.n = self.table["feature"].nunique()
        self.measured_on = (
            f"{self.n} features; report split of {corpus.name}; seed {config.seed}; whiskers: 95% intervals"
        )

    def question(self) -> str:
        return f"How well can the features of {self.subject.name} be described?"

    def opening(self) -> Sequence[str]:
        once = self.config.samples == 1
        often = (
            "once each"
            if once
            else (f"{self.config.samples} times each, and one description was chosen on the select split")
        )
        return [
            f"{self.n} features were described by {', '.join(e[3:] for e in self.explainers)}, {often}.",
            "They were scored on the report split, beside those of other features (grey).",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        return Figure("scores", "Scores of the chosen descriptions", self.measured_on, self.scores())

    def sections(self) -> Sequence[Section]:
        choice = [self._choice()] if self.config.samples > 1 else []
        return [
            self._differences(), *choice, self._populations(), self._failures(), self._examples()
        ]  # fmt: skip

    def scores(self) -> Draw:
        """Draws the mean of each score by explainer, beside its null."""
        rows = []
        for kind in self.kinds:
            for explainer in self.explainers:
                part = self.table[self.table["explainer"] == explainer]
                entries = [
                    Entry("b", self._mean(part[kind])),
                    Entry("null", self._mean(part[f"{kind} null"])),
                ]
                label = kind if len(self.explainers) == 1 else f"{kind}, {explainer[3:]}"
                rows.append(EstimateRow(label, entries))
        return estimate_chart(
            rows,
            x_name="mean score (correlation, or AUROC)",
            names=NAMES,
            null=None,
        )

    def choice(self) -> Draw:
        """Draws the chosen description's score on select and on report, beside the first one's."""
        rows = []
        for explainer in self.explainers:
            part = self.table[self.table["explainer"] == explainer]
            entries = [
                Entry("c", self._mean(part["selected"])),
                Entry("b", self._mean(part["chosen"])),
                Entry("null", self._mean(part["first"])),
            ]
            rows.append(EstimateRow(explainer[3:], entries))
        return estimate_chart(
            rows,
            x_name=f"mean {self.config.choose_by} score",
            names=CHOICE,
            null=None,
        )

    def _verdict(self) -> str:
        said = []
        for explainer in self.explainers:
            part = self.table[self.table["explainer"] == explainer]
            own, null = self._mean(part["simulation"]), self._mean(part["simulation null"])
            said.append(
                f"{explainer[3:]} reaches a mean simulation score of {measured(own)} ({interval(own)}; "
                f"null {measured(null)})"
            )
        text = "; ".join(said)
        return f"{text[:1].upper()}{text[1:]}."

    def _differences(self) -> Section:
        first, *others = ((name[3:], self._part(name)) for name in self.explainers)
        pairs = [
            (f"{name} - other features' descriptions (null)", part[self.kinds] - self._nulls(part))
            for name, part in (first, *others)
        ]
        pairs += [(f"{name} - {first[0]}", part[self.kinds] - first[1][self.kinds]) for name, part in others]
        rows: list[list[Cell]] = [
            [name, *(self._mean(found[kind]) for kind in self.kinds)] for name, found in pairs
        ]
        columns = [Column("difference"), *(Column(kind) for kind in self.kinds)]
        caption = f"Means over {self.n} features of the difference on each"
        return Section("Feature by feature", (), (), [Table("differences", caption, columns, rows)])

    def _part(self, explainer: str) -> pd.DataFrame:
        """Returns the scores of an explainer's descriptions, by feature."""
        return self.table[self.table["explainer"] == explainer].set_index("feature")

    def _nulls(self, part: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({kind: part[f"{kind} null"] for kind in self.kinds})

    def _choice(self) -> Section:
        rows = []
        for explainer in self.explainers:
            part = self.table[self.table["explainer"] == explainer]
            optimism, gain = part["selected"] - part["chosen"], part["chosen"] - part["first"]
            rows.append([explainer[3:], self._mean(optimism), self._mean(gain)])
        table = Table(
            "best of n", "Differences of the choosing score, means over features",
            [Column("explainer"), Column("optimism"), Column("gain over the first")], rows,
        )  # fmt: skip
        text = f"Best of {self.config.samples}: a score on the select split may not hold on the report split."
        return Section(
            "What choosing adds",
            [text],
            [Figure("best_of_n", "Best of n", self.measured_on, self.choice())],
            [table],
        )

    def _populations(self) -> Section:
        columns = [
            Column("features"),
            Column("explainer"),
            Column("n", places=0),
            *(Column(kind) for kind in self.kinds),
        ]
        rows = [
            [population, explainer[3:], len(part), *(self._mean(part[kind]) for kind in self.kinds)]
            for (population, explainer), part in groups(self.table, "population", "explainer")
        ]
        return Section("By kind of feature", (), (), [Table("populations", "Mean scores", columns, rows)])

    def _failures(self) -> Section:
        columns = [Column("explainer"), Column("no description", places=0),
                   *(Column(f"{kind}: unreadable", places=0) for kind in self.kinds),
                   *(Column(f"{kind}: undefined", places=0) for kind in self.kinds)]  # fmt: skip
        rows = []
        for explainer in self.explainers:
            part = self.table[self.table["explainer"] == explainer]
            unreadable = [int(part[f"{kind} failures"].fillna(0).sum()) for kind in self.kinds]
            undefined = [int(part[kind].isna().sum()) for kind in self.kinds]
            rows.append([explainer[3:], int((part["candidates"] == 0).sum()), *unreadable, *undefined])
        table = Table(
            "failures", "Texts whose answer could not be parsed, and features without a score", columns, rows
        )
        return Section("What could not be parsed or scored", (), (), [table])

    def _examples(self) -> Section:
        shown = self.table.assign(
            explainer=self.table["explainer"].str[3:], description=self.table["text"].replace("", "(none)")
        ).sort_values("simulation", ascending=False, na_position="last")
        columns = ("feature", "explainer", "description", *self.kinds)
        table = Table.of(shown, columns, "descriptions", "The best first")
        return Section("Every description", (), (), [table])

    def _mean(self, values: "pd.Series[float]") -> Estimate:
        return mean_interval(values.astype(float).dropna().to_numpy(), self.config.seed)
