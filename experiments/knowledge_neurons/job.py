"""The steps of `knowledge_neurons`."""

from collections.abc import Sequence

import pandas as pd

from interp.causal.effects import CLEAN, CONTROL, TOGETHER, flips, foils_of_group
from interp.causal.interventions import scales
from interp.causal.knowledge_neurons import answer_attributions, shared_features
from interp.causal.outcome import ask, halves
from interp.causal.selection import matched_controls
from interp.corpus.questions import notes_on_questions
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.mining.mined import MinedSpaces, mine
from interp.mining.store import load_mined, save_mined
from interp.subject.forward import Intervention
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import CorpusJob
from .config import Config
from .page import KnowledgePage


class Job(CorpusJob[Config]):
    """Searches for knowledge neurons, then erases and enhances them."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.spaces = config.spaces.open(self.subject)
        asked = config.questions.open(self.subject, config.seed)
        if not all(len(question.answers) == 1 and question.foils for question in asked):
            raise UserError(
                "a question lacks a foil, or has several answers",
                "questions",
                "give one answer and a foil for each: whether the answer flips is judged between them",
            )
        run.tell(*notes_on_questions(asked))
        self.searched, self.questions = halves(asked, config.seed)
        self.groups = list(dict.fromkeys(question.group for question in asked))

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        mined = load_mined(self.run.step("mine", self.mine) / "exemplars")
        self.run.step("search", self.search)
        self.run.step("change", lambda step: self.change(step, mined))
        self.write_page(lambda: KnowledgePage(self.run, self.config, self.subject, self.groups))

    def mine(self, step: Step) -> None:
        """Measures how active every feature is, to match random features with the found ones."""
        mined = mine(
            self.subject, self.spaces, self.corpus, self.config.mining,
            progress=step.progress, engine=self.engine, folder=step.scratch / "shards",
        )  # fmt: skip
        save_mined(mined, step.folder / "exemplars")

    def search(self, step: Step) -> None:
        """Finds features shared by a group's prompts, by integrated gradients of the answer's probability."""
        rows, config = [], self.config
        with step.progress.task("attributing", total=len(self.searched), unit="prompts") as advance:
            for group in self.groups:
                asked = [question for question in self.searched if question.group == group]
                found, share = shared_features(
                    self.spaces,
                    answer_attributions(self.subject, self.spaces, asked, config.steps, advance),
                    config.of_largest,
                    config.least_share,
                    config.wanted,
                )
                rows += [
                    {"group": group, "feature": f.feature.key, "share": f.share, "attribution": f.attribution}
                    for f in found
                ]
                step.metric(f"search/{group}/found", len(found), headline=True)
                step.metric(f"search/{group}/share", share)
        columns = ["group", "feature", "share", "attribution"]
        step.table("knowledge_neurons", pd.DataFrame(rows, columns=columns))

    def change(self, step: Step, mined: MinedSpaces) -> None:
        """Erases and enhances each group's features, and random ones, and asks all questions each time."""
        found = self.run.table("knowledge_neurons")
        statistics = {space.name: mined[space.name].statistics() for space in self.spaces}
        rows = [self._asked([], of="", how=CLEAN, set=CLEAN)]
        ways = {"erase": 0.0, "enhance": self.config.enhance}
        for group in self.groups:
            keys = found[found["group"] == group]["feature"]
            features = [FeatureRef.parse(key, self.spaces) for key in keys]
            if not features:
                step.progress.say(f"no feature is shared by enough prompts of {group}: nothing to change")
                continue
            controls = matched_controls(features, statistics, self.config.controls, self.config.seed)
            sets = [(TOGETHER, features), *((f"{CONTROL} {n}", c) for n, c in enumerate(controls))]
            for how, factor in ways.items():
                for name, changed in sets:
                    edits = scales(changed, factor, self.config.positions)
                    rows.append(self._asked(edits, of=group, how=how, set=name))
        outcomes = pd.concat(rows, ignore_index=True)
        step.table("outcomes", outcomes)
        summary = flips(outcomes, self.config.seed)
        step.table("flips", summary)
        for row in summary.to_dict("records"):
            name = f"{row['how']}/{row['of']}/{row['set']}/on/{row['group']}"
            main = row["of"] == row["group"] and row["set"] == TOGETHER
            step.metric(f"{name}/answer_nats", row["answer"], headline=main)
            step.metric(f"{name}/foil_nats", row["foil"], headline=main)
            step.metric(f"{name}/flips", row["flips"], headline=main)

    def _asked(self, edits: Sequence[Intervention], **names: str) -> pd.DataFrame:
        """Returns the outcome of every question under some interventions."""
        with self.subject.intervene(*edits):
            outcome = ask(self.subject, self.questions)
        frame = outcome.frame(self.questions, **names)
        return frame.assign(top_flips=foils_of_group(self.questions, outcome.top))
