"""Choose among a feature's descriptions on one split, and score the chosen on another."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from experiments.describe.config import ScoringConfig
from interp.compare.concepts import labels_at
from interp.descriptions.candidate import Candidate, Judge, Simulator
from interp.descriptions.excerpt import Excerpt, excerpts
from interp.descriptions.labels import carries
from interp.descriptions.score import Score
from interp.descriptions.scorers.agreement import agreement
from interp.descriptions.scorers.intervention import Continuations, Continuer, intervention
from interp.descriptions.scorers.judged import JudgedScore, judged
from interp.descriptions.scorers.simulation import simulation
from interp.descriptions.scorers.texts import JudgedTexts, gather_texts
from interp.descriptions.windows import gather_report
from interp.document import Corpus, Split
from interp.features.ref import FeatureRef
from interp.mining.mined import MinedSpaces
from interp.statistics.auroc import auroc_table
from interp.statistics.estimate import mean_and_central
from interp.store.rows import ScoreRow
from interp.subject import Subject
from interp.track.progress import Progress


@dataclass(frozen=True)
class Texts:
    """One feature's text of one split."""

    top: list[Excerpt]
    random: list[Excerpt]
    judged: JudgedTexts


class Scorers:
    """What simulates and judges, and the text that they are given."""

    def __init__(
        self,
        subject: Subject,
        corpus: Corpus,
        mined: MinedSpaces,
        simulator: Simulator,
        judges: Sequence[Judge],
        options: ScoringConfig,
        context_size: int,
        seed: int,
    ) -> None:
        self._subject, self._corpus, self._mined = subject, corpus, mined
        self._simulator, self._judges = simulator, judges
        self._options, self._context_size, self._seed = options, context_size, seed
        self._continuer: Continuer | None = None
        self._labels: dict[str, torch.Tensor] = {}

    def texts(
        self, features: Sequence[FeatureRef], split: Split, progress: Progress | None = None
    ) -> list[Texts]:
        """The text of several features, read together."""
        options = self._options
        found = {name: mined.exemplars[split] for name, mined in self._mined.items()}
        top, random = gather_report(
            self._subject, self._corpus, features, found, options.random_windows, self._context_size, progress
        )
        shown = gather_texts(
            self._subject, self._corpus, features, self._mined, split, options.texts, self._context_size,
            self._seed, progress,
        )  # fmt: skip
        return [
            Texts(excerpts(self._subject, a), excerpts(self._subject, b), c)
            for a, b, c in zip(top, random, shown, strict=True)
        ]

    async def choice(self, candidate: Candidate, texts: Texts, by: str) -> float:
        """The score that chooses among a feature's descriptions; NaN where it does not exist."""
        if by == "simulation":
            found = await simulation(self._simulator, candidate, texts.top, texts.random, (), self._seed)
            return found.correlations.both.value
        shown = texts.judged
        rated = await judged(self._judges[0], candidate, shown.active, shown.silent, draws=1)
        return rated.auroc[0]

    async def scores(
        self,
        feature: FeatureRef,
        candidate: Candidate,
        texts: Texts,
        nulls: Sequence[Candidate],
        continued: Continuations | None,
    ) -> list[ScoreRow]:
        """Every score of a description; all calls of it are in flight together."""
        parts = [self._simulated(candidate, texts, nulls)]
        for judge in self._judges:
            shown = texts.judged
            parts.append(self._judged("detection", judge, candidate, (shown.active, shown.silent), nulls))
            parts.append(self._judged("fuzzing", judge, candidate, (shown.marked, shown.mismarked), nulls))
            if continued is not None:
                parts.append(self._intervened(judge, candidate, continued, nulls))
        if self._corpus.label_names:
            parts.append(self._agreement(feature, candidate, texts, nulls))
        return [row for part in await asyncio.gather(*parts) for row in part]

    def continued(self, feature: FeatureRef, texts: Texts) -> Continuations | None:
        """Continuations with the feature held, behind the first tokens of random windows, if asked for."""
        options = self._options
        if not options.prompts:
            return None
        if self._continuer is None:
            shown = texts.random[: options.prompts]
            self._continuer = Continuer.behind(self._subject, shown, options.new_tokens)
        statistics = self._mined[feature.space.name].statistics()
        return self._continuer.continued(feature, statistics, options.strength, self._seed)

    async def _simulated(
        self, candidate: Candidate, texts: Texts, nulls: Sequence[Candidate]
    ) -> list[ScoreRow]:
        found = await simulation(self._simulator, candidate, texts.top, texts.random, nulls, self._seed)
        name = self._simulator.name
        parts = found.correlations
        return [
            _score_row(kind, name, score, found.failures)
            for kind, score in (
                ("simulation", parts.both), ("simulation top", parts.top), ("simulation random", parts.random)
            )
        ]  # fmt: skip

    async def _judged(
        self, kind: str, judge: Judge, candidate: Candidate, shown: Any, nulls: Sequence[Candidate]
    ) -> list[ScoreRow]:
        found = await judged(judge, candidate, *shown, nulls, self._seed)
        return _judged_rows(kind, judge.name, found)

    async def _intervened(
        self, judge: Judge, candidate: Candidate, continued: Continuations, nulls: Sequence[Candidate]
    ) -> list[ScoreRow]:
        found = await intervention(judge, candidate, continued, nulls, self._seed)
        control = _judged_rows("intervention control", judge.name, found.control)
        return _judged_rows("intervention", judge.name, found.score)[:1] + control[:1]

    async def _agreement(
        self, feature: FeatureRef, candidate: Candidate, texts: Texts, nulls: Sequence[Candidate]
    ) -> list[ScoreRow]:
        """How well the description tells the label that the feature itself tells best on the select split."""
        concept = self._best_concept(feature)
        shown = texts.random
        label = [carries(self._corpus, one.window, concept) for one in shown]
        values = []
        for one in (candidate, *nulls):
            simulated = await self._simulator.simulate(one, shown)
            values.append(agreement(simulated, shown, label, draws=200 if one is candidate else 0))
        others = np.array([one.value for one in values[1:]])
        own = values[0]
        return [
            ScoreRow(
                "agreement", f"{self._simulator.name}: {concept}", "report", own.value, own.low, own.high,
                *mean_and_central(others), own.n, own.failures,
            )
        ]  # fmt: skip

    def _best_concept(self, feature: FeatureRef) -> str:
        name = feature.space.name
        sample = self._mined[name].samples["select"]
        if name not in self._labels:
            self._labels[name] = labels_at(self._corpus, sample)
        values = feature.polarity * sample.value[:, feature.feature_id : feature.feature_id + 1].float()
        table = auroc_table(values, self._labels[name])[0].nan_to_num(-1.0)
        return self._corpus.label_names[int(table.argmax())]


def _score_row(kind: str, scorer: str, score: Score, failures: int) -> ScoreRow:
    return ScoreRow(
        kind, scorer, "report", score.value, score.low, score.high, score.null_mean, score.null_low,
        score.null_high, score.n_windows, failures,
    )  # fmt: skip


def _judged_rows(kind: str, scorer: str, found: JudgedScore) -> list[ScoreRow]:
    n = found.n_positive + found.n_negative
    return [
        ScoreRow(kind, scorer, "report", *found.auroc, *found.null_auroc, n, found.failures),
        ScoreRow(
            f"{kind} accuracy", scorer, "report", *found.balanced_accuracy, *found.null_balanced_accuracy, n,
            found.failures,
        ),
    ]  # fmt: skip
