"""The page of `distil`: what the students reach on features that they were not taught."""

from collections.abc import Callable, Mapping

import pandas as pd

from experiments.distil.config import Config
from interp.document import Corpus
from interp.render.data import Estimate, Kind
from interp.render.digits import interval, measured
from interp.render.estimate_figure import Entry, EstimateRow, estimates
from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.page import Column, Figure, Page, Section, Table
from interp.statistics.estimate import mean_interval
from interp.subject import Subject
from interp.track.run import Run

SIMULATED = (
    ("teacher's words, teacher", "others' words, teacher", "teacher's words, by the teacher"),
    ("teacher's words, student", "others' teacher's words, student", "teacher's words, by the student"),
    ("student's words, student", "others' student's words, student", "student's words, by the student"),
)
NAMES: Mapping[Kind, str] = {"latent": "of the feature", "random": "of another feature (null)"}
WORDS = (
    ("Teacher", "Descriptions from pattern tries, simulated by their tries."),
    ("Student", "A small language model, fine-tuned to write the teacher's sentences from highlighted "
     "excerpts, and another to give each token of a text its activation from such a sentence."),
    ("Held out", "Features, and text, that no student has seen."),
    ("Named", "The share of the pieces of text in the student's quotation marks that stand in the teacher's, "
     "too; in those of another feature for the null."),
    ("No words", "The student simulates an empty description: what it knows without one."),
)  # fmt: skip
LIMITS = (
    "The student is tiny: what it does not reach says little of what a large one would.",
    "A simulator may be right for the wrong reason; the null is what other features' words get.",
)


class DistilPage:
    """The table of a run, and the page made from it."""

    def __init__(self, run: Run, subject: Subject, corpus: Corpus, config: Config, student: str) -> None:
        self.run, self.subject, self.config, self.student = run, subject, config, student
        self.table = run.table("held_out")
        self.measured_on = (
            f"{len(self.table)} held-out features; report split of {corpus.name}; seed {config.seed}; "
            "whiskers: 95% intervals over features"
        )

    def page(self) -> Page:
        """The whole page."""
        taught = self.run.metrics["sets/explainer/train"]
        return Page(
            f"Can a small model describe the features of {self.subject.name}?",
            [
                f"{self.student} was fine-tuned on the teacher's descriptions of {taught} features, once to "
                "write and once to simulate them.",
                "Both students were held against their teacher on features and text that they had not seen.",
                self._verdict(),
            ],
            Figure(self.scores(), "Simulation score by who wrote and who simulated", self.measured_on),
            [self._figures(), self._samples()],
            WORDS,
            LIMITS,
            subject_facts(self.subject),
            run_facts(self.run),
            step_seconds(self.run),
        )

    def files(self) -> dict[str, str]:
        """The figures as files of their own, by name."""
        return {"scores": self.scores(True)(620)}

    def scores(self, standalone: bool = False) -> Callable[[int], str]:
        """Mean simulation scores, beside the same simulator on other features' words."""
        rows = [
            EstimateRow(label, [Entry("latent", self._mean(own)), Entry("random", self._mean(null))])
            for own, null, label in SIMULATED
        ]
        return lambda width: estimates(
            rows,
            x_name="mean simulation score (correlation)",
            names=NAMES,
            width=width,
            standalone=standalone,
        )

    def _verdict(self) -> str:
        own, null = self._mean("named"), self._mean("named of another")
        said = [
            f"of the pieces of text that the student names, the teacher names {measured(own)} "
            f"({interval(own)}), for another feature {measured(null)}"
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
        names = [name for name in self.table if ", " in str(name) or str(name).startswith("named")]
        rows = [[str(name), self._mean(str(name)), int(self.table[name].isna().sum())] for name in names]
        columns = [Column("words, simulator"), Column("mean score"), Column("undefined", places=0)]
        return Section(
            "All figures", (), (), [Table("scores", "Means over held-out features", columns, rows)]
        )

    def _samples(self) -> Section:
        names = ("feature", "teacher", "student", SIMULATED[1][0], SIMULATED[2][0])
        columns = [Column(name) for name in names]
        rows = [
            [
                row["feature"],
                row["teacher"],
                row["student"],
                row[SIMULATED[1][0]],
                row[SIMULATED[2][0]],
            ]
            for row in self.table.to_dict("records")
        ]
        same = float((self.table["teacher"] == self.table["student"]).mean())
        text = f"{same:.0%} are the teacher's words exactly."
        return Section(
            "What they wrote", [text], (), [Table("descriptions", "Held-out features", columns, rows)]
        )

    def _mean(self, name: str) -> Estimate:
        return self._mean_of(self.table[name])

    def _mean_of(self, values: "pd.Series[float]") -> Estimate:
        known = values.astype(float).dropna().to_numpy()
        return mean_interval(known, self.config.seed)
