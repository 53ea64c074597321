"""The scores of one feature's candidates, and their truth."""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from experiments.calibration.config import Config
from experiments.common.describers import open_judge, open_simulator
from interp.descriptions.candidate import Candidate, Judge, Simulator
from interp.descriptions.excerpt import Excerpt, excerpts
from interp.descriptions.labels import carries
from interp.descriptions.scorers.agreement import agreement
from interp.descriptions.scorers.intervention import Continuations, Continuer, intervention
from interp.descriptions.scorers.judge_simulated import SimulatorJudge
from interp.descriptions.scorers.judged import judged
from interp.descriptions.scorers.simulation import simulation
from interp.descriptions.scorers.texts import gather_texts
from interp.descriptions.simulators.known import KnownSimulator
from interp.descriptions.windows import gather_report
from interp.document import Corpus
from interp.features.ref import FeatureRef
from interp.llm.client import Client
from interp.mining.mined import MinedSpaces
from interp.subject import Subject
from interp.track.progress import Progress


class FeatureScorer:
    """Reads the text of all features once, then scores one feature's candidates after the other."""

    def __init__(
        self,
        subject: Subject,
        corpus: Corpus,
        features: Sequence[FeatureRef],
        mined: MinedSpaces,
        config: Config,
        clients: Mapping[str, Client],
        progress: Progress,
    ) -> None:
        self._corpus, self._config = corpus, config
        self._simulator = KnownSimulator(corpus)
        self._judges: dict[str, Judge] = {"": SimulatorJudge(self._simulator)}
        self._simulators: dict[str, Simulator] = {"": self._simulator}
        for number, source in enumerate(config.judges, start=1):
            self._judges[f" by {source.kind} {number}"] = open_judge(source, clients, self._simulator)
        for number, simulated in enumerate(config.simulators, start=1):
            self._simulators[f" by {simulated.kind} {number}"] = open_simulator(simulated, clients, corpus)
        context_size, options = config.mining.context_size, config.scores
        split = {
            name: {space: found.exemplars[space][name] for space, found in mined.items()}
            for name in ("select", "report")
        }
        top, random = gather_report(
            subject, corpus, features, split["select"], options.random_windows, context_size, progress
        )
        self._top = [excerpts(subject, windows) for windows in top]
        self._random = [excerpts(subject, windows) for windows in random]
        _, truth = gather_report(
            subject, corpus, features[:1], split["report"], options.truth_windows, context_size, progress
        )
        self._texts = gather_texts(
            subject, corpus, features, mined, "select", options.texts, context_size, config.seed, progress
        )
        self._mined, self._features = mined, features
        self._continuer: Continuer | None = None
        if options.prompts:
            shown = self._random[0][: options.prompts]
            self._continuer = Continuer.behind(subject, shown, options.new_tokens)
        self._truth: list[Excerpt] = excerpts(subject, truth[0])

    async def score(
        self, place: int, concept: str, candidates: Sequence[Candidate]
    ) -> list[dict[str, float]]:
        """Of each candidate its truth and its scores, each under "score: NAME"."""
        label = [carries(self._corpus, one.window, concept) for one in self._truth]
        continuations = self._continued(place)
        return list(
            await asyncio.gather(*(self._scores(place, one, label, continuations) for one in candidates))
        )

    async def _scores(
        self,
        place: int,
        candidate: Candidate,
        label: Sequence[Bool[np.ndarray, " _"]],
        continuations: Continuations | None,
    ) -> dict[str, float]:
        simulated = await self._simulator.simulate(candidate, self._truth)
        row = {"truth": agreement(simulated, self._truth, label, draws=0).value}
        for by, simulator in self._simulators.items():
            windows = self._top[place], self._random[place]
            found = await simulation(simulator, candidate, *windows, (), self._config.seed)
            parts = found.correlations
            row[f"score: simulation{by}, top"] = parts.top.value
            row[f"score: simulation{by}, random"] = parts.random.value
            row[f"score: simulation{by}, both"] = parts.both.value
        texts = self._texts[place]
        for by, judge in self._judges.items():
            detection = await judged(judge, candidate, texts.active, texts.silent, draws=1)
            fuzzing = await judged(judge, candidate, texts.marked, texts.mismarked, draws=1)
            row[f"score: detection{by}, AUROC"] = detection.auroc[0]
            row[f"score: detection{by}, accuracy"] = detection.balanced_accuracy[0]
            row[f"score: fuzzing{by}, AUROC"] = fuzzing.auroc[0]
            row[f"score: fuzzing{by}, accuracy"] = fuzzing.balanced_accuracy[0]
            if self._config.scores.prompts:
                value = float("nan")
                if continuations is not None:
                    value = (await intervention(judge, candidate, continuations)).score.auroc[0]
                row[f"score: intervention{by}, AUROC"] = value
        return row | {"score: length of the words": float(len(candidate.text))}

    def _continued(self, place: int) -> Continuations | None:
        if self._continuer is None:
            return None
        feature = self._features[place]
        statistics = self._mined[feature.space.name].statistics()
        strength = self._config.scores.strength
        return self._continuer.continued(feature, statistics, strength, self._config.seed)
