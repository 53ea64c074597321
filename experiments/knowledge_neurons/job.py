"""The steps of `knowledge_neurons`."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.common.job import CorpusJob
from experiments.knowledge_neurons.config import Config
from experiments.knowledge_neurons.page import KnowledgePage
from interp.attribution import integrated_gradients
from interp.causal.aim import laid, target_of
from interp.causal.change import scales
from interp.causal.controls import matched_controls
from interp.causal.effects import CLEAN, CONTROL, TOGETHER
from interp.causal.flips import flips
from interp.causal.knowledge import shared_features
from interp.causal.outcome import ask, halves
from interp.corpus.questions import notes_on_questions, open_questions
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.mining.mined import MinedSpaces, mine
from interp.mining.store import load as load_mined
from interp.mining.store import save as save_mined
from interp.render.page import render_page
from interp.subject.forward import Intervention
from interp.track.files import write_text
from interp.track.run import Run
from interp.track.step import Step
from saes.spaces import open_spaces

PROMPTS_AT_ONCE = 16


class Job(CorpusJob[Config]):
    """The steps, and what they share."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.spaces = open_spaces(config.spaces, self.subject)
        asked = open_questions(config.questions, self.subject, config.seed)
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
        """All steps in order; those that have finished are skipped."""
        mined = load_mined(self.run.step("mine", self.mine) / "exemplars")
        self.run.step("search", self.search)
        self.run.step("change", lambda step: self.change(step, mined))
        self.run.step("report", self.report)
        self.run.publish_report(self.run.folder / "steps" / "report" / "report.html")

    def mine(self, step: Step) -> None:
        """How active every feature is, by which random ones are matched."""
        mined = mine(self.subject, self.spaces, self.corpus, self.config.mining, progress=step.progress)
        save_mined(mined, step.folder / "exemplars")

    def search(self, step: Step) -> None:
        """Integrated gradients of the answer's probability at the last token, shared by a group's prompts."""
        rows = []
        with step.progress.task("attributing", total=len(self.searched), unit="prompts") as advance:
            for group in self.groups:
                attributions = self._attributions(group, advance)
                found, share = shared_features(
                    self.spaces,
                    attributions,
                    self.config.of_largest,
                    self.config.least_share,
                    self.config.wanted,
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
        """Each group's features, and random ones, erased and enhanced; all questions asked each time."""
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

    def report(self, step: Step) -> None:
        """The page and its figures."""
        page = KnowledgePage(self.run, self.subject, self.config, self.groups)
        for name, svg in page.files().items():
            step.figure(name, svg)
        write_text(step.folder / "report.html", render_page(page.page()))

    def _attributions(
        self, group: str, advance: Callable[[float | int], None]
    ) -> list[Float[Tensor, "prompt feature"]]:
        """For each space the attributions of the group's prompts at their last token."""
        asked = [question for question in self.searched if question.group == group]
        parts: list[list[Tensor]] = [[] for _ in self.spaces]
        for start in range(0, len(asked), PROMPTS_AT_ONCE):
            batch = asked[start : start + PROMPTS_AT_ONCE]
            tokens, mask = laid(self.subject, batch)
            found = integrated_gradients(
                self.subject,
                tokens,
                mask,
                target_of(self.subject, batch, "probability"),
                self.spaces,
                steps=self.config.steps,
                rule="endpoints",
                path="each",
                positions="last",
            )
            for part, space in zip(parts, self.spaces, strict=True):
                part.append(found.values[space.name][:, found.prompt_length - 1].float().cpu())
            advance(len(batch))
        return [torch.cat(part) for part in parts]

    def _asked(self, edits: Sequence[Intervention], **names: str) -> pd.DataFrame:
        """The outcome of every question under some interventions."""
        with self.subject.intervene(*edits):
            outcome = ask(self.subject, self.questions)
        frame = outcome.frame(self.questions, **names)
        return frame.assign(top_flips=self._top_flips(outcome.top))

    def _top_flips(self, top: np.ndarray) -> list[bool]:
        """Whether the likeliest of all tokens begins a foil of the question's group, and no answer of it."""
        answers = {g: {q.answers[0][0] for q in self.questions if q.group == g} for g in self.groups}
        foils = {g: {f[0] for q in self.questions if q.group == g for f in q.foils} for g in self.groups}
        return [
            token in foils[question.group] - answers[question.group]
            for token, question in zip(top.tolist(), self.questions, strict=True)
        ]
