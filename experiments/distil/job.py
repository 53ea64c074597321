"""The steps of `distil`."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interp.bundled.pydoc import pydoc_folder
from interp.descriptions.candidate import Candidate, Simulator
from interp.descriptions.excerpt import Excerpt, TextEvidence, excerpts
from interp.descriptions.explainers.local import LocalExplainer, prompt
from interp.descriptions.explainers.patterns import PatternExplainer
from interp.descriptions.local_model import LocalModel
from interp.descriptions.sample import sample_active
from interp.descriptions.scorers.simulation import simulation
from interp.descriptions.simulators.expected_value import ExpectedValueSimulator
from interp.descriptions.simulators.known import KnownSimulator
from interp.descriptions.windows import gather_evidence, gather_report
from interp.distil.examples import (
    ExplainerExample,
    around_peak,
    is_held_out,
    quoted,
    simulator_examples,
)
from interp.distil.sets import explainer_set, simulator_set, write_sets
from interp.distil.train import train_explainer, train_simulator
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.mining.exemplars import outer_levels
from interp.mining.mined import MinedSpaces
from interp.statistics.estimate import mean_interval
from interp.track.files import write_json
from interp.track.records import read_written
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import CorpusJob
from ..common.populations.job import mine_spaces, mined_by_space
from .config import Config
from .page import DistilPage


class Job(CorpusJob[Config]):
    """Writes a teacher's descriptions, trains two students on them, and scores all on held-out features."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.neurons = [MlpNeurons(self.subject, layer) for layer in range(self.subject.n_layers)]
        self.student = config.student or pydoc_folder()

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        mined = mined_by_space(self.run.step("mine", self.mine))
        taught = self.run.step("teach", lambda step: self.teach(step, mined))
        explainer = self.run.step("train_explainer", lambda step: self.train_explainer(step, taught))
        simulator = self.run.step("train_simulator", lambda step: self.train_simulator(step, taught))
        self.run.step("score", lambda step: self.score(step, mined, taught, explainer, simulator))
        page = self.run, self.config, self.subject, self.corpus, self.student.name
        self.write_page(lambda: DistilPage(*page))

    def mine(self, step: Step) -> None:
        """Mines windows of every neuron."""
        mine_spaces(step, self.subject, self.neurons, self.corpus, self.config.mining, "mining", self.engine)

    def teach(self, step: Step, mined: MinedSpaces) -> None:
        """Writes the teacher's descriptions, and makes the fine-tuning sets of them."""
        config = self.config
        explain = {name: found.exemplars["explain"] for name, found in mined.items()}
        features = sample_active(self.neurons, explain, config.features, config.seed)
        gathered = gather_evidence(
            self.subject, self.corpus, features, explain, config.mining.context_size, step.progress
        )
        described = PatternExplainer(self.subject).explain_all(
            features, [evidence for evidence, _ in gathered], progress=step.progress
        )
        prompts: list[ExplainerExample] = []
        texts = []
        saved = []
        for feature, (evidence, _), found in zip(features, gathered, described, strict=True):
            candidate = found.candidates[0]
            strong = excerpts(self.subject, evidence.exemplars)
            shown = self._shown(strong, feature, explain)
            prompts.append(ExplainerExample(feature.key, prompt(shown, config.seed, 0), candidate.text))
            half = config.texts // 2
            others = excerpts(self.subject, evidence.random[: config.texts - half])
            largest = max((one.peak for one in strong), default=0.0)
            texts += simulator_examples(feature.key, candidate.text, [*strong[:half], *others], largest)
            saved.append(
                {"feature": feature.key, "candidate": candidate.to_json(), "prompt": prompts[-1].prompt}
            )
        counts = write_sets(step.folder / "sets", prompts, texts, config.held_out, config.seed)
        for name, count in counts.items():
            step.metric(f"sets/{name}", count)
        write_json(step.folder / "taught.json", saved)

    def train_explainer(self, step: Step, taught: Path) -> None:
        """Trains the student that writes descriptions."""
        student, examples = LocalModel.load(self.student), explainer_set(taught / "sets")
        train_explainer(student, examples, self.config.explainer, step.folder / "explainer", step.log)

    def train_simulator(self, step: Step, taught: Path) -> None:
        """Trains the student that simulates them."""
        student, examples = LocalModel.load(self.student), simulator_set(taught / "sets")
        train_simulator(student, examples, self.config.simulator, step.folder / "simulator", step.log)

    def score(self, step: Step, mined: MinedSpaces, taught: Path, explainer: Path, simulator: Path) -> None:
        """Scores teacher and students on features that no student was trained on, on the report split."""
        config = self.config
        named = {space.name: space for space in self.neurons}
        rows = [
            (
                FeatureRef.parse(one["feature"], self.neurons),
                Candidate.from_json(one["candidate"]),
                one["prompt"],
            )
            for one in read_written(taught / "taught.json", "list")
            if is_held_out(one["feature"], config.held_out, config.seed)
        ][: config.scored]
        features = [feature for feature, _, _ in rows]
        report = {name: mined[name].exemplars["report"] for name in named}
        top, random = gather_report(
            self.subject, self.corpus, features, report, config.random_windows, config.mining.context_size,
            step.progress,
        )  # fmt: skip
        writer = LocalExplainer.load(explainer / "explainer", temperature=0.0)
        written = self._write(step, writer, [shown for _, _, shown in rows])
        student = ExpectedValueSimulator.load(simulator / "simulator")
        teacher = KnownSimulator(self.corpus)
        order = np.random.default_rng(config.seed).permutation(len(rows))
        other = {int(a): int(b) for a, b in zip(order, np.roll(order, 1), strict=True)}
        table = []
        with step.progress.task("scoring held-out features", total=len(rows), unit="features") as advance:
            for place, (feature, candidate, _) in enumerate(rows):
                windows = excerpts(self.subject, top[place]), excerpts(self.subject, random[place])
                stranger = rows[other[place]][1]
                theirs = Candidate(written[other[place]], writer.name)
                scored = {
                    "teacher's words, teacher": _score(teacher, candidate, windows),
                    "others' words, teacher": _score(teacher, stranger, windows),
                    "teacher's words, student": _score(student, candidate, windows),
                    "student's words, student": _score(
                        student, Candidate(written[place], writer.name), windows
                    ),
                    "others' teacher's words, student": _score(student, stranger, windows),
                    "others' student's words, student": _score(student, theirs, windows),
                    "no words, student": _score(student, Candidate("", writer.name), windows),
                }
                table.append(
                    {
                        "feature": feature.key,
                        "teacher": candidate.text,
                        "student": written[place],
                        "named": _named_too(written[place], candidate.text),
                        "named of another": _named_too(written[place], stranger.text),
                        **scored,
                    }
                )
                advance(1)
        frame = pd.DataFrame(table)
        step.table("held_out", frame)
        step.metric("held_out/features", len(frame), headline=True)
        step.metric("held_out/same_words", float((frame["teacher"] == frame["student"]).mean()))
        for name in ("named", "named of another"):
            step.metric(f"words/{name.replace(' ', '_')}", float(frame[name].mean()), headline=True)
        for name in list(frame.columns)[5:]:
            values = frame[name].to_numpy(dtype=float)
            mean = mean_interval(values[~np.isnan(values)], config.seed)
            key = name.replace("'", "").replace(", ", "_by_").replace(" ", "_")
            step.estimate(f"simulation/{key}", *mean, headline="others" not in name)
            step.metric(f"simulation/{key}_undefined", int(np.isnan(values).sum()))

    def _shown(self, strong: Sequence[Excerpt], feature: FeatureRef, explain: Any) -> TextEvidence:
        """Cuts the strongest exemplars to the context of a small model."""
        config = self.config
        cut = [around_peak(one, config.before, config.after) for one in strong[: config.excerpts]]
        return TextEvidence(cut, levels=outer_levels(explain[feature.space.name], feature))

    def _write(self, step: Step, writer: LocalExplainer, prompts: Sequence[str]) -> list[str]:
        """Writes the student's descriptions, several prompts at a time."""
        written: list[str] = []
        with step.progress.task(
            "describing held-out features", total=len(prompts), unit="features"
        ) as advance:
            for start in range(0, len(prompts), 16):
                part = list(prompts[start : start + 16])
                written += writer.answers(part, self.config.seed)
                advance(len(part))
        return written


def _score(
    simulator: Simulator, candidate: Candidate, windows: tuple[Sequence[Excerpt], Sequence[Excerpt]]
) -> float:
    found = asyncio.run(simulation(simulator, candidate, *windows))
    return found.both.value


def _named_too(student: str, teacher: str) -> float:
    """Returns the share of the student's quoted pieces that the teacher quotes too; NaN if it quotes none."""
    named = quoted(student)
    return len(named & quoted(teacher)) / len(named) if named else float("nan")
