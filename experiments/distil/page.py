"""The page of `distil`: how well the students do on features that they were not trained on."""

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

from ..common.page import ExperimentPage
from .config import Config

SIMULATED = (
    ("teacher's words, teacher", "others' words, teacher", "teacher's words, by the teacher"),
    ("teacher's words, student", "others' teacher's words, student", "teacher's words, by the student"),
    ("student's words, student", "others' student's words, student", "student's words, by the student"),
)
NAMES: Mapping[Role, str] = {"b": "of the feature", "null": "of another feature (null)"}


class DistilPage(ExperimentPage[Config]):
    """Shows simulation scores by who wrote the words and who simulated them."""

    words = (
        ("Teacher", "Descriptions from pattern tries, simulated by their tries."),
        ("Student", "A small language model, fine-tuned to write the teacher's sentences from highlighted "
         "excerpts, and another to give each token of a text its activation from such a sentence."),
        ("Held out", "Features, and text, that no student has seen."),
        ("Named", "The share of the pieces of text that the student quotes which the teacher quotes "
         "too; for the null, the teacher's quotes for another feature."),
        ("No words", "The student simulates from an empty description: what it scores without words."),
    )  # fmt: skip
    limits = (
        "The student is tiny: what it fails to reach says little about what a large one would.",
        "A simulator may be right for the wrong reason; the null is its score with other features' words.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject, corpus: Corpus, student: str) -> None:
        super().__init__(run, config, subject)
        self.student, self.table = student, run.table("held_out")
        self.measured_on = (
            f"{len(self.table)} held-out features; report split of {corpus.name}; seed {config.seed}; "
            "whiskers: 95% intervals over features"
        )

    def question(self) -> str:
        return f"Can a small model describe the features of {self.subject.name}?"

    def opening(self) -> Sequence[str]:
        taught = self.run.metrics["sets/explainer/train"]
        return [
            f"{self.student} was fine-tuned on the teacher's descriptions of {taught} features, once to "
            "write and once to simulate them.",
            "Both students were compared with their teacher on features and text that they had not seen.",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        return Figure(
            "scores", "Simulation score by who wrote and who simulated", self.measured_on, self.scores()
        )

    def sections(self) -> Sequence[Section]:
        return [self._figures(), self._samples()]

    def scores(self) -> Draw:
        """Draws mean simulation scores, beside those of the same simulator on other features' words."""
        rows = [
            EstimateRow(label, [Entry("b", self._mean(own)), Entry("null", self._mean(null))])
            for own, null, label in SIMULATED
        ]
        return estimate_chart(
            rows,
            x_name="mean simulation score (correlation)",
            names=NAMES,
        )

    def _verdict(self) -> str:
        named, by_chance = self._mean("named"), self._mean("named of another")
        said = [
            f"of the pieces of text that the student names, the teacher names {measured(named)} "
            f"({interval(named)}), for another feature {measured(by_chance)}"
        ]
        for own, null, label in SIMULATED[1:]:
            gap = self._mean_of(self.table[own] - self.table[null])
            score = self._mean(own)
            said.append(
                f"{label} reach {measured(score)} ({interval(score)}), {measured(gap, True)} "
                f"({interval(gap, True)}) over the null"
            )
        teacher = self._mean(SIMULATED[0][0])
        text = "; ".join(said)
        return f"{text[:1].upper()}{text[1:]}; the teacher itself reaches {measured(teacher)}."

    def _figures(self) -> Section:
        names = [name for name in map(str, self.table) if ", " in name or name.startswith("named")]
        rows: list[list[Cell]] = [
            [name, self._mean(name), int(self.table[name].isna().sum())] for name in names
        ]
        columns = [Column("words, simulator"), Column("mean score"), Column("undefined", places=0)]
        return Section(
            "All figures", (), (), [Table("scores", "Means over held-out features", columns, rows)]
        )

    def _samples(self) -> Section:
        names = ("feature", "teacher", "student", SIMULATED[1][0], SIMULATED[2][0])
        same = float((self.table["teacher"] == self.table["student"]).mean())
        text = f"{same:.0%} are the teacher's words exactly."
        table = Table.of(self.table, names, "descriptions", "Held-out features")
        return Section("What they wrote", [text], (), [table])

    def _mean(self, name: str) -> Estimate:
        return self._mean_of(self.table[name])

    def _mean_of(self, values: "pd.Series[float]") -> Estimate:
        return mean_interval(values.astype(float).dropna().to_numpy(), self.config.seed)
