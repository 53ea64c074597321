"""Describes many features with an explainer that reads one feature's text."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from interp.descriptions.candidate import Explained, Explainer
from interp.descriptions.evidence import Evidence
from interp.descriptions.excerpt import text_evidence
from interp.features.ref import FeatureRef
from interp.llm.client import Client, run_with
from interp.subject.subject import Subject
from interp.track.progress import Progress


@dataclass(frozen=True)
class TextExplainer:
    """The `FeatureExplainer` that runs an `Explainer` on all features concurrently."""

    subject: Subject
    explainer: Explainer
    clients: Sequence[Client] = ()

    @property
    def name(self) -> str:
        """The explainer's."""
        return self.explainer.name

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
        """Writes up to `samples` descriptions of each feature, seeded by `seed` and the feature alone."""

        async def explain(place: int) -> Explained:
            text = text_evidence(self.subject, evidence[place], levels[place] if levels else ())
            own = int(np.random.SeedSequence([seed, *features[place].seed]).generate_state(1)[0])
            explained = await self.explainer.explain(text, samples, own)
            found(place, explained)
            return explained

        async def all_of_them() -> list[Explained]:
            return list(await asyncio.gather(*(explain(place) for place in range(len(features)))))

        return run_with(all_of_them(), list(self.clients))
