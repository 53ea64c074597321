"""Scores descriptions on the text of one split, by simulators, judges and interventions."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from interp.descriptions.candidate import Candidate, Judge, Shown, Simulator
from interp.descriptions.evidence import label_mask
from interp.descriptions.excerpt import Excerpt, excerpts
from interp.descriptions.score import Score
from interp.descriptions.scorers.intervention import Continuations, Continuer, intervention
from interp.descriptions.scorers.judged import JudgedScore, judged
from interp.descriptions.scorers.label_detection import label_detection
from interp.descriptions.scorers.simulation import simulation
from interp.descriptions.scorers.texts import JudgedTexts, gather_texts
from interp.descriptions.sources import TextsConfig
from interp.descriptions.windows import gather_report
from interp.document import Split
from interp.features.ref import FeatureRef
from interp.mining.exemplars import labels_at
from interp.mining.mined import Mined
from interp.statistics.auroc import auroc_table
from interp.statistics.estimate import mean_and_central
from interp.store.rows import ScoreRow
from interp.track.progress import Progress


@dataclass(frozen=True)
class Texts:
    """One feature's text of one split."""

    split: Split
    top: list[Excerpt]
    random: list[Excerpt]
    judged: JudgedTexts


class Scorer:
    """Scores descriptions with simulators and judges on text that it reads.

    The first simulator and the first judge choose among descriptions; `draws` is the number of resamples for
    the intervals of judged scores, and `with_labels` adds the agreement with the labels of the corpus.
    """

    def __init__(
        self,
        mined: Mined,
        simulators: Sequence[Simulator],
        judges: Sequence[Judge],
        options: TextsConfig,
        seed: int = 0,
        *,
        draws: int = 1000,
        with_labels: bool = True,
    ) -> None:
        self._mined, self._simulators, self._judges = mined, simulators, judges
        self._options, self._seed, self._draws = options, seed, draws
        self._with_labels = with_labels and bool(mined.corpus.label_names)
        self._continuer: Continuer | None = None
        self._labels: dict[str, torch.Tensor] = {}

    def texts(
        self, features: Sequence[FeatureRef], split: Split, progress: Progress | None = None
    ) -> list[Texts]:
        """Reads the text of several features together."""
        mined, options = self._mined, self._options
        read = read_excerpts(mined, features, split, options.random_windows, progress)
        shown = gather_texts(
            mined.subject, mined.corpus, features, mined, split, options.texts, mined.config.context_size,
            self._seed, progress,
        )  # fmt: skip
        return [Texts(split, *one, judged) for one, judged in zip(read, shown, strict=True)]

    async def choice(self, candidate: Candidate, texts: Texts, by: str) -> float:
        """Returns the score that chooses among a feature's descriptions; NaN if it is undefined."""
        if by == "simulation":
            simulator = self._simulators[0]
            found = await simulation(simulator, candidate, texts.top, texts.random, (), self._seed)
            return found.both.value
        shown = texts.judged
        rated = await judged(self._judges[0], candidate, shown.active, shown.silent, draws=1)
        return rated.auroc[0]

    async def scores(
        self,
        feature: FeatureRef,
        candidate: Candidate,
        texts: Texts,
        nulls: Sequence[Candidate] = (),
        continued: Continuations | None = None,
    ) -> list[ScoreRow]:
        """Computes every score of a description in concurrent calls."""
        parts = [self._simulated(one, candidate, texts, nulls) for one in self._simulators]
        for judge in self._judges:
            shown, split = texts.judged, texts.split
            parts.append(
                self._judged("detection", judge, candidate, (shown.active, shown.silent), nulls, split)
            )
            parts.append(
                self._judged("fuzzing", judge, candidate, (shown.marked, shown.mismarked), nulls, split)
            )
            if continued is not None:
                parts.append(self._intervened(judge, candidate, continued, nulls, split))
        if self._with_labels:
            parts.append(self._agreement(feature, candidate, texts, nulls))
        return [row for part in await asyncio.gather(*parts) for row in part]

    def continued(self, feature: FeatureRef, texts: Texts) -> Continuations | None:
        """Writes continuations of random windows' first tokens with the feature clamped, if asked for."""
        options = self._options
        if not options.prompts:
            return None
        if self._continuer is None:
            shown = texts.random[: options.prompts]
            self._continuer = Continuer.of_excerpts(self._mined.subject, shown, options.new_tokens)
        statistics = self._mined[feature.space.name].statistics()
        return self._continuer.continued(feature, statistics, options.strength, self._seed)

    async def _simulated(
        self, simulator: Simulator, candidate: Candidate, texts: Texts, nulls: Sequence[Candidate]
    ) -> list[ScoreRow]:
        found = await simulation(simulator, candidate, texts.top, texts.random, nulls, self._seed)
        kinds = {"simulation": found.both, "simulation top": found.top, "simulation random": found.random}
        return [
            _score_row(kind, simulator.name, texts.split, score, found.failures)
            for kind, score in kinds.items()
        ]

    async def _judged(
        self,
        kind: str,
        judge: Judge,
        candidate: Candidate,
        shown: tuple[Sequence[Shown], Sequence[Shown]],
        nulls: Sequence[Candidate],
        split: Split,
    ) -> list[ScoreRow]:
        found = await judged(judge, candidate, *shown, nulls, self._seed, self._draws)
        return _judged_rows(kind, judge.name, split, found)

    async def _intervened(
        self,
        judge: Judge,
        candidate: Candidate,
        continued: Continuations,
        nulls: Sequence[Candidate],
        split: Split,
    ) -> list[ScoreRow]:
        found = await intervention(judge, candidate, continued, nulls, self._seed)
        control = _judged_rows("intervention control", judge.name, split, found.control)
        return _judged_rows("intervention", judge.name, split, found.score)[:1] + control[:1]

    async def _agreement(
        self, feature: FeatureRef, candidate: Candidate, texts: Texts, nulls: Sequence[Candidate]
    ) -> list[ScoreRow]:
        """Measures how well the description detects the label that the feature detects best on select."""
        concept = self._best_concept(feature)
        simulator, shown = self._simulators[0], texts.random
        label = [label_mask(self._mined.corpus, one.window, concept) for one in shown]
        values = []
        for one in (candidate, *nulls):
            simulated = await simulator.simulate(one, shown)
            values.append(label_detection(simulated, shown, label, draws=200 if one is candidate else 0))
        others = np.array([one.value for one in values[1:]])
        own = values[0]
        return [
            ScoreRow(
                "agreement", f"{simulator.name}: {concept}", texts.split, own.value, own.low, own.high,
                *mean_and_central(others), own.n, own.failures,
            )
        ]  # fmt: skip

    def _best_concept(self, feature: FeatureRef) -> str:
        name = feature.space.name
        sample = self._mined[name].samples["select"]
        if name not in self._labels:
            self._labels[name] = labels_at(self._mined.corpus, sample)
        values = feature.polarity * sample.value[:, feature.feature_id : feature.feature_id + 1].float()
        table = auroc_table(values, self._labels[name])[0].nan_to_num(-1.0)
        return self._mined.corpus.label_names[int(table.argmax())]


def _score_row(kind: str, scorer: str, split: Split, score: Score, failures: int) -> ScoreRow:
    return ScoreRow(
        kind, scorer, split, score.value, score.low, score.high, score.null_mean, score.null_low,
        score.null_high, score.n_windows, failures,
    )  # fmt: skip


def _judged_rows(kind: str, scorer: str, split: Split, found: JudgedScore) -> list[ScoreRow]:
    n = found.n_positive + found.n_negative
    return [
        ScoreRow(kind, scorer, split, *found.auroc, *found.null_auroc, n, found.failures),
        ScoreRow(
            f"{kind} accuracy", scorer, split, *found.balanced_accuracy, *found.null_balanced_accuracy, n,
            found.failures,
        ),
    ]  # fmt: skip


def read_excerpts(
    mined: Mined,
    features: Sequence[FeatureRef],
    split: Split,
    random_windows: int,
    progress: Progress | None = None,
) -> list[tuple[list[Excerpt], list[Excerpt]]]:
    """Reads each feature's strongest windows of a split, and random ones that all share, as text."""
    found = {name: space.exemplars[split] for name, space in mined.items()}
    top, random = gather_report(
        mined.subject, mined.corpus, features, found, random_windows, mined.config.context_size, progress
    )
    return [
        (excerpts(mined.subject, a), excerpts(mined.subject, b)) for a, b in zip(top, random, strict=True)
    ]
