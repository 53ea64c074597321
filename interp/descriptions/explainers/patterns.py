"""The explainer without a language model, by pattern tries; further samples use parts of the evidence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from interp.descriptions.candidate import Candidate, Explained
from interp.descriptions.evidence import Evidence
from interp.descriptions.pattern import ExplainSettings
from interp.descriptions.population import NAME, describe_features
from interp.features.ref import FeatureRef
from interp.subject.subject import Subject
from interp.track.progress import Progress


@dataclass(frozen=True)
class PatternExplainer:
    """Describes many features together; see `interp.descriptions.explain`.

    The first description of a feature is of all of its exemplars, each further one of a random half or more.
    """

    subject: Subject
    settings: ExplainSettings | None = None
    name: str = NAME

    def explain_all(
        self,
        features: Sequence[FeatureRef],
        evidence: Sequence[Evidence],
        samples: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
        *,
        levels: Sequence[Sequence[float]] | None = None,
        found: Callable[[int, Explained], None] = lambda place, explained: None,
    ) -> list[Explained]:
        """Writes `samples` descriptions of each feature, in the order given."""
        parts = [
            part(one, sample, [seed, *feature.seed])
            for feature, one in zip(features, evidence, strict=True)
            for sample in range(samples)
        ]
        repeated = [feature for feature in features for _ in range(samples)]
        described = describe_features(self.subject, repeated, parts, self.settings, progress)
        candidates = [
            Candidate(one.text, self.name, number % samples, one) for number, one in enumerate(described)
        ]
        explained = [
            Explained(tuple(candidates[start : start + samples]))
            for start in range(0, len(candidates), samples)
        ]
        for place, one in enumerate(explained):
            found(place, one)
        return explained


def part(evidence: Evidence, sample: int, seed: Sequence[int]) -> Evidence:
    """Keeps all exemplars for sample 0, else a random half or more; the other windows stay."""
    n = len(evidence.exemplars)
    if sample == 0 or n < 2:
        return evidence
    rng = np.random.default_rng([*seed, sample])
    kept = np.sort(rng.choice(n, size=int(rng.integers((n + 1) // 2, n + 1)), replace=False))
    return replace(evidence, exemplars=[evidence.exemplars[i] for i in kept])
