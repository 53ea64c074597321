"""The steps of `attribution_quality`."""

import contextlib
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch

from interp.attribution import (
    Attribution,
    Chosen,
    Target,
    ablation_effects,
    activation_patching,
    activation_times_gradient,
    attribution_patching,
    integrated_gradients,
)
from interp.attribution.ablation import random_places, strongest_places
from interp.attribution.agreement import agreement_table
from interp.attribution.baseline import Statistics
from interp.causal.answer_targets import answer_target, padded_prompts
from interp.corpus.questions import notes_on_questions, question_pairs
from interp.errors import UserError
from interp.mining.mined import mine
from interp.subject import Site
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import SubjectJob
from .config import Config
from .page import QualityPage

STRONGEST, RANDOM = "strongest", "random"


class Job(SubjectJob[Config]):
    """Measures exact effects, then how well each attribution agrees with them."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.spaces = config.spaces.open(self.subject)
        self.questions = config.questions.open(self.subject, config.seed)
        run.tell(*notes_on_questions(self.questions))
        self.pairs = question_pairs(self.questions)

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        self.run.step("ablate", self.ablate)
        self.run.step("patch", self.patch)
        self.run.step("agree", self.agree)
        self.write_page(lambda: QualityPage(self.run, self.config, self.subject))

    def ablate(self, step: Step) -> None:
        """Ablates features at single positions: exact effects, beside their attributions."""
        statistics = self._statistics(step)
        rng = np.random.default_rng(self.config.seed)
        rows = []
        with step.progress.task("ablating", total=len(self.questions), unit="prompts") as advance:
            for number, question in enumerate(self.questions):
                tokens, mask = padded_prompts(self.subject, [question])
                target = answer_target(self.subject, [question])
                found = self._attributions(tokens, mask, target, statistics)
                chosen, drawn = self._chosen(list(found.values()), rng)
                exact = ablation_effects(
                    self.subject,
                    tokens,
                    mask,
                    target,
                    chosen,
                    to=self.config.baseline,
                    statistics=statistics,
                )
                approximate = {
                    name: [float(a.values[one.space.name][0, one.position, one.feature_id]) for one in chosen]
                    for name, a in found.items()
                }
                rows.append(
                    pd.DataFrame(
                        {
                            "prompt": number,
                            "group": question.group,
                            "feature": [f"{one.space.name}/{one.feature_id}" for one in chosen],
                            "position": [one.position for one in chosen],
                            "drawn": drawn,
                            "exact": exact[:, 0].tolist(),
                            **approximate,
                        }
                    )
                )
                advance(1)
        step.table("ablation", pd.concat(rows, ignore_index=True))

    def patch(self, step: Step) -> None:
        """Patches residual sites, heads and features: exact effects, beside attribution patching."""
        if not self.pairs:
            step.progress.say("no two prompts of a group match in length with different answers: no patching")
        layers = range(self.subject.n_layers)
        streams, heads = [Site("resid_pre", n) for n in layers], [Site("head_out", n) for n in layers]
        rng = np.random.default_rng(self.config.seed)
        rows = []
        with step.progress.task("patching", total=len(self.pairs), unit="pairs") as advance:
            for number, (clean, corrupted) in enumerate(self.pairs):
                (one, _), (other, _) = (
                    padded_prompts(self.subject, [clean]),
                    padded_prompts(self.subject, [corrupted]),
                )
                target = Target("logit_difference", clean.answers[0], corrupted.answers[0])
                estimate = attribution_patching(
                    self.subject, one, other, target, sites=[*streams, *heads], spaces=self.spaces
                )
                chosen = strongest_places(estimate.spaces, self.spaces, self.config.effects // 2)
                chosen += random_places(self.spaces, one.shape[1], self.config.effects - len(chosen), rng)
                exact = activation_patching(
                    self.subject, one, other, target, sites=[*streams, *heads], chosen=chosen
                )
                for kind, sites in (("residual", streams), ("heads", heads)):
                    guesses, truths = (
                        torch.cat([found.sites[site].flatten() for site in sites]).tolist()
                        for found in (estimate, exact)
                    )
                    patches = {"exact": truths, "attribution patching": guesses}
                    rows.append(pd.DataFrame({"pair": number, "kind": kind, **patches}))
                guessed = [float(estimate.spaces[c.space.name][0, c.position, c.feature_id]) for c in chosen]
                features = {"exact": exact.chosen[:, 0].tolist(), "attribution patching": guessed}
                rows.append(pd.DataFrame({"pair": number, "kind": "features", **features}))
                advance(1)
        columns = ["pair", "kind", "exact", "attribution patching"]
        step.table("patching", pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns))

    def agree(self, step: Step) -> None:
        """Compares approximations, and a random ranking, with the exact effects: rank, sign, shared top."""
        ablation, patching = (self.run.table(name) for name in ("ablation", "patching"))
        found = agreement_table(ablation, patching, self.config.top, self.config.seed)
        step.table("agreement", found)
        for row in found.to_dict("records"):
            name = f"{row['effects']}/{row['approximation']}".replace(" ", "_")
            for measure in ("spearman", "sign", "top"):
                step.metric(f"{name}/{measure}", row[measure], headline=measure == "spearman")
                step.metric(f"{name}/{measure}_random", row[f"{measure}_random"])

    def _statistics(self, step: Step) -> Statistics | None:
        if self.config.baseline == "zero":
            return None
        corpus = self.open_corpus(self.config.corpus, self.subject)
        mined = mine(
            self.subject, self.spaces, corpus, self.config.mining,
            progress=step.progress, engine=self.engine, folder=step.scratch / "shards",
        )  # fmt: skip
        return {space.name: mined[space.name].statistics() for space in self.spaces}

    def _attributions(
        self, tokens: torch.Tensor, mask: torch.Tensor, target: Target, statistics: Statistics | None
    ) -> dict[str, Attribution]:
        given = (self.subject, tokens, mask, target, self.spaces)
        baseline = self.config.baseline
        integrated = partial(
            integrated_gradients, *given, baseline=baseline, statistics=statistics, steps=self.config.steps
        )
        found = {"gradient": activation_times_gradient(*given, baseline=baseline, statistics=statistics)}
        found["integrated each"] = integrated(path="each")
        with contextlib.suppress(UserError):  # spaces that feed one another cannot move together
            found["integrated joint"] = integrated(path="joint")
        return found

    def _chosen(
        self, found: Sequence[Attribution], rng: np.random.Generator
    ) -> tuple[list[Chosen], list[str]]:
        """Chooses features at positions: those that any method finds strongest, and as many at random."""
        each = max(1, self.config.effects // 2 // len(found))
        chosen = list(
            dict.fromkeys(one for a in found for one in strongest_places(a.values, self.spaces, each))
        )
        n_positions = next(iter(found[0].values.values())).shape[1]
        drawn = random_places(self.spaces, n_positions, self.config.effects - len(chosen), rng)
        return chosen + drawn, [STRONGEST] * len(chosen) + [RANDOM] * len(drawn)
