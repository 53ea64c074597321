"""Computes the scores of one feature's candidates, and their truth."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from interp.descriptions.candidate import Candidate, Judge, Simulator
from interp.descriptions.evidence import label_mask
from interp.descriptions.scorers.intervention import Continuations
from interp.descriptions.scorers.judge_simulated import SimulatorJudge
from interp.descriptions.scorers.label_detection import label_detection
from interp.descriptions.scoring import Scorer, read_excerpts
from interp.descriptions.simulators.known import KnownSimulator
from interp.features.ref import FeatureRef
from interp.llm.client import Client
from interp.mining.mined import Mined
from interp.track.progress import Progress

from .config import Config

SIMULATED = {
    "simulation top": "simulation{}, top",
    "simulation random": "simulation{}, random",
    "simulation": "simulation{}, both",
}
JUDGED = {
    "detection": "detection{}, AUROC",
    "detection accuracy": "detection{}, accuracy",
    "fuzzing": "fuzzing{}, AUROC",
    "fuzzing accuracy": "fuzzing{}, accuracy",
    "intervention": "intervention{}, AUROC",
}
"""The name of each kind of score; the braces take who gave it."""


class FeatureScorer:
    """Reads the text of all features once, then scores one feature's candidates after the other."""

    def __init__(
        self,
        mined: Mined,
        features: Sequence[FeatureRef],
        config: Config,
        clients: Mapping[str, Client],
        progress: Progress,
    ) -> None:
        known = KnownSimulator(mined.corpus)
        judges: dict[str, Judge] = {"": SimulatorJudge(known)}
        simulators: dict[str, Simulator] = {"": known}
        for number, source in enumerate(config.judges, start=1):
            judges[f" by {source.kind} {number}"] = source.open(known, clients)
        for number, simulated in enumerate(config.simulators, start=1):
            simulators[f" by {simulated.kind} {number}"] = simulated.open(mined.corpus, clients)
        options = config.scores
        self._corpus, self._known, self._features = mined.corpus, known, features
        self._simulators, self._judges = list(simulators), list(judges)
        self._judged = JUDGED if options.prompts else {k: v for k, v in JUDGED.items() if k != "intervention"}
        self._scorer = Scorer(
            mined, list(simulators.values()), list(judges.values()), options, config.seed,
            draws=1, with_labels=False,
        )  # fmt: skip
        self._texts = self._scorer.texts(features, "select", progress)
        ((_, self._truth),) = read_excerpts(mined, features[:1], "report", options.truth_windows, progress)

    async def score(
        self, place: int, concept: str, candidates: Sequence[Candidate]
    ) -> list[dict[str, float]]:
        """Returns the truth and the scores of each candidate, a score under the key "score: NAME"."""
        label = [label_mask(self._corpus, one.window, concept) for one in self._truth]
        continued = self._scorer.continued(self._features[place], self._texts[place])
        return list(await asyncio.gather(*(self._scores(place, one, label, continued) for one in candidates)))

    async def _scores(
        self,
        place: int,
        candidate: Candidate,
        label: Sequence[Bool[np.ndarray, " _"]],
        continued: Continuations | None,
    ) -> dict[str, float]:
        simulated = await self._known.simulate(candidate, self._truth)
        texts = self._texts[place]
        values: dict[tuple[str, int], float] = {}
        seen: Counter[str] = Counter()
        for one in await self._scorer.scores(self._features[place], candidate, texts, (), continued):
            values[one.kind, seen[one.kind]] = float("nan") if one.value is None else one.value
            seen[one.kind] += 1
        row = {"truth": label_detection(simulated, self._truth, label, draws=0).value}
        for names, whose in ((SIMULATED, self._simulators), (self._judged, self._judges)):
            for number, by in enumerate(whose):
                for kind, name in names.items():
                    row[f"score: {name.format(by)}"] = values.get((kind, number), float("nan"))
        return row | {"score: length of the words": float(len(candidate.text))}
