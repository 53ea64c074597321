"""The steps of `linear_relations`."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pandas as pd

from interp.errors import UserError
from interp.lenses.answers import Answers
from interp.lenses.linear_relation import fit_relations
from interp.lenses.prompt import Prompt, prompt_at
from interp.lenses.relation_baselines import (
    INVERSE,
    LRE,
    Edited,
    Faithful,
    FittedRelation,
    RelationSamples,
    edits,
    faithfulness,
)
from interp.lenses.relations import Relation, told_apart_by_first
from interp.lenses.residual_stream import EMBEDDING
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import SubjectJob
from .config import Config
from .page import LinearRelationsPage

LEAST = 4  # samples to choose on and to report on, together


class Job(SubjectJob[Config]):
    """Fits the affine map of every relation, and measures its faithfulness and its causal edits."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.layers = config.layers or tuple(range(EMBEDDING, self.subject.n_layers - 1))
        self.relations = [self._drawn(relation) for relation in config.relations.open(self.subject)]
        self.prompts = [self._prompts(relation) for relation in self.relations]

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        self.run.step("relations", self.measure)
        self.write_page(lambda: LinearRelationsPage(self.run, self.config, self.subject))

    def measure(self, step: Step) -> None:
        """Measures each relation's faithfulness against baselines, and its causal edits against controls."""
        with step.progress.task("fitting", total=len(self.relations), unit="relations") as advance:
            fitted: list[FittedRelation] = []
            for relation, prompts in zip(self.relations, self.prompts, strict=True):
                fitted.append(self._fitted(relation, prompts))
                advance()
        faithful: list[Faithful] = []
        by_layer: list[Faithful] = []
        edited: list[Edited] = []
        with step.progress.task("measuring", total=len(fitted), unit="relations") as advance:
            for place, one in enumerate(fitted):
                another = fitted[(place + 1) % len(fitted)] if len(fitted) > 1 else None
                chosen, profile = faithfulness(self.subject, one, another, self.config.betas)
                faithful += chosen
                by_layer += profile
                edited += edits(self.subject, one, self.config.ranks, self.config.seed)
                advance()
        table, changed = (
            pd.DataFrame(rows, columns=kind._fields)
            for rows, kind in ((faithful, Faithful), (edited, Edited))
        )
        step.table("faithfulness", table)
        profiles = pd.DataFrame(by_layer, columns=Faithful._fields)
        step.table("faithfulness_by_layer", profiles.drop(columns="beta"))
        step.table("edits", changed)
        for frame, key in ((table, "method"), (changed, "edit")):
            for name, own in frame.groupby(key, sort=False):
                step.metric(str(name), own["right"].mean(), headline=name in (LRE, INVERSE))

    def _drawn(self, relation: Relation) -> Relation:
        relation, notes = told_apart_by_first(relation, self.subject)
        self.run.tell(*notes)
        samples = list(relation.samples)
        Random(f"{relation.name} {self.config.seed}").shuffle(samples)
        return replace(relation, samples=tuple(samples[: self.config.most]))

    def _prompts(self, relation: Relation) -> list[Prompt]:
        """Returns each sample's question after the shown ones, with its subject's last position."""
        shown = relation.samples[: self.config.shown]
        return [prompt_at(self.subject, relation.ask(name, shown), name) for name, _ in relation.samples]

    def _fitted(self, relation: Relation, prompts: Sequence[Prompt]) -> FittedRelation:
        """Fits the relation's maps on samples that the model answers rightly."""
        objects = [answer for _, answer in relation.samples]
        answers = Answers.of(self.subject, objects)
        right = answers.right(self.subject, prompts)
        known = np.flatnonzero(right | (not self.config.known_only)).tolist()
        examples, rest = known[: self.config.examples], known[self.config.examples :]
        if len(rest) < LEAST:
            raise UserError(
                f"the model answers {len(known)} of {len(objects)} samples rightly, too few to fit on "
                f"{self.config.examples} and to test on others",
                f"relation {relation.name}",
                "leave the relation out, or fit on fewer examples",
            )
        made = [prompts[place] for place in examples]
        maps = fit_relations(self.subject, made, self.layers)
        half = len(rest) // 2
        choose, report = (
            RelationSamples.read(
                self.subject,
                [prompts[place] for place in places],
                answers.of_items(places),
                [objects[place] for place in places],
            )
            for places in (rest[:half], rest[half:])
        )
        return FittedRelation(relation.name, maps, choose, report)
