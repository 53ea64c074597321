"""The steps of `neuron_cause`."""

from collections.abc import Sequence

import pandas as pd

from interp.causal.effects import CLEAN, CONTROL, TOGETHER, effects
from interp.causal.interventions import ablations, clamps, dose_values
from interp.causal.outcome import ask, halves
from interp.causal.selection import by_attribution, by_concept, matched_controls
from interp.corpus.questions import counted_as, notes_on_questions
from interp.features.ref import FeatureRef
from interp.mining.mined import MinedSpaces, mine
from interp.mining.store import load_mined, save_mined
from interp.subject.forward import Intervention
from interp.track.files import write_json
from interp.track.records import read_written
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import CorpusJob
from .config import Config, PickByConcept, PickById
from .page import CausePage

Sets = Sequence[tuple[str, list[FeatureRef]]]
"""Features that are changed together, by the name of the set."""


class Job(CorpusJob[Config]):
    """Picks features, ablates them, sweeps their values, and measures the answers."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.spaces = config.spaces.open(self.subject)
        if isinstance(config.pick, PickById):
            for key in config.pick.features:
                FeatureRef.parse(key, self.spaces)
        asked = config.questions.open(self.subject, config.seed)
        if config.answers:
            asked = counted_as(asked, config.answers, self.subject)
        run.tell(*notes_on_questions(asked))
        self.to_pick_on, self.questions = halves(asked, config.seed)

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        mined = load_mined(self.run.step("mine", self.mine) / "exemplars")
        self.statistics = {space.name: mined[space.name].statistics() for space in self.spaces}
        file = self.run.step("pick", lambda step: self.pick(step, mined)) / "picked.json"
        picked = [(FeatureRef.parse(key, self.spaces), value) for key, value in read_written(file).items()]
        sets = self._sets([feature for feature, _ in picked])
        self.run.step("ablate", lambda step: self.ablate(step, sets))
        self.run.step("sweep", lambda step: self.sweep(step, sets))
        self.write_page(lambda: CausePage(self.run, self.config, self.subject, self.corpus, mined, picked))

    def mine(self, step: Step) -> None:
        """Mines means, quantiles and samples of every feature of every space."""
        mined = mine(
            self.subject, self.spaces, self.corpus, self.config.mining,
            progress=step.progress, engine=self.engine, folder=step.scratch / "shards",
        )  # fmt: skip
        save_mined(mined, step.folder / "exemplars")
        first = mined[self.spaces[0].name].exemplars["explain"]
        step.metric("mining/tokens", first.n_tokens)

    def pick(self, step: Step, mined: MinedSpaces) -> None:
        """Picks the features that are changed, strongest first."""
        pick = self.config.pick
        if isinstance(pick, PickById):
            found = [(FeatureRef.parse(key, self.spaces), float("nan")) for key in pick.features]
        elif isinstance(pick, PickByConcept):
            found = by_concept(self.spaces, mined, self.corpus, pick.concept, pick.count)
        else:
            group = self.to_pick_on[0].group
            asked = [question for question in self.to_pick_on if question.group == group]
            found = by_attribution(self.subject, self.spaces, asked, self.statistics, pick.count)
        write_json(step.folder / "picked.json", {f.key: value for f, value in found})

    def ablate(self, step: Step, sets: Sets) -> None:
        """Ablates the picked features together, some alone, and every set of controls, in each way."""
        rows = [self._asked([], set=CLEAN, to=CLEAN)]
        changes = [(name, features, to) for to in self.config.ablate_to for name, features in sets]
        with step.progress.task("ablating", total=len(changes), unit="changes") as advance:
            for name, features, to in changes:
                edits = ablations(features, to, self.statistics, self.config.positions, self.config.seed)
                rows.append(self._asked(edits, set=name, to=to))
                advance(1)
        outcomes = pd.concat(rows, ignore_index=True)
        step.table("ablations", outcomes)
        summary = effects(outcomes, "to", self.config.seed)
        step.table("ablation_effects", summary)
        for group, of_group in summary.groupby("group", sort=False):
            clean = outcomes[(outcomes["set"] == CLEAN) & (outcomes["group"] == group)]
            step.metric(f"clean/{group}/rate", float(clean.right.mean()))
            for row in of_group.to_dict("records"):
                name, main = f"ablate/{group}/{row['to']}/{row['measure']}", row["measure"] == "rate"
                step.estimate(name, row["value"], row["low"], row["high"], headline=main)
                step.metric(f"{name}_control", row["control"], headline=main)

    def sweep(self, step: Step, sets: Sets) -> None:
        """Clamps every set to one dose after another."""
        rows = []
        with step.progress.task("sweeping", total=len(sets) * self.config.doses, unit="doses") as advance:
            for name, features in sets:
                values = dose_values(features, self.statistics, self.config.doses)
                for number, dose in enumerate(values):
                    edits = clamps(features, dose, self.config.positions)
                    share = number / (self.config.doses - 1)
                    rows.append(self._asked(edits, set=name, share=share, value=float(dose[0])))
                    advance(1)
        outcomes = pd.concat(rows, ignore_index=True)
        step.table("sweep", outcomes)
        for end, share in (("lowest", 0.0), ("highest", 1.0)):
            for group, part in outcomes[outcomes["share"] == share].groupby("group", sort=False):
                random = part["set"].str.startswith(CONTROL)
                name = f"sweep/{group}/rate_at_{end}_dose"
                step.metric(name, float(part[part["set"] == TOGETHER]["right"].mean()), headline=True)
                step.metric(f"{name}_control", float(part[random]["right"].mean()))

    def _sets(self, features: list[FeatureRef]) -> Sets:
        """Returns the picked features together, some of them alone, and controls."""
        alone = features[: self.config.separately] if len(features) > 1 else []
        controls = matched_controls(features, self.statistics, self.config.controls, self.config.seed)
        return [
            (TOGETHER, features),
            *((feature.key, [feature]) for feature in alone),
            *((f"{CONTROL} {number}", control) for number, control in enumerate(controls)),
        ]

    def _asked(self, edits: Sequence[Intervention], **names: str | float) -> pd.DataFrame:
        """Returns the outcome of every question under some interventions."""
        with self.subject.intervene(*edits):
            return ask(self.subject, self.questions).frame(self.questions, **names)
