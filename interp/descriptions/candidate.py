"""What explainers, simulators and judges hand to each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from interp.descriptions.description import Description
from interp.descriptions.evidence import Evidence
from interp.descriptions.excerpt import Excerpt, TextEvidence
from interp.features.ref import FeatureRef
from interp.track.progress import Progress

SCALE = 10.0
"""Simulated activations run from 0 to this."""


@dataclass(frozen=True)
class Candidate:
    """A description of one feature by one explainer.

    `pattern` is the trie behind the words, where the explainer is the trie; `concept` the label of the corpus
    whose definition the words are. Only `simulators.known` looks at either.
    """

    text: str
    explainer: str
    sample: int = 0
    pattern: Description | None = None
    concept: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` restores the same candidate."""
        pattern = None if self.pattern is None else self.pattern.to_json()
        return {
            "text": self.text,
            "explainer": self.explainer,
            "sample": self.sample,
            "pattern": pattern,
            "concept": self.concept,
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Candidate":
        """Restore a candidate from `to_json`."""
        pattern = None if saved["pattern"] is None else Description.from_json(saved["pattern"])
        return cls(saved["text"], saved["explainer"], saved["sample"], pattern, saved["concept"])


@dataclass(frozen=True)
class Explained:
    """What an explainer found for one feature; `failures` counts answers that could not be read."""

    candidates: tuple[Candidate, ...]
    failures: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` restores the same."""
        return {"candidates": [one.to_json() for one in self.candidates], "failures": self.failures}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Explained":
        """Restore what `to_json` gave."""
        return cls(tuple(Candidate.from_json(one) for one in saved["candidates"]), saved["failures"])


@runtime_checkable
class Explainer(Protocol):
    """Writes descriptions of a feature from its explain-split evidence."""

    @property
    def name(self) -> str:
        """What it is, with everything that its descriptions depend on (the model, the prompt)."""
        ...

    async def explain(self, evidence: TextEvidence, samples: int, seed: int) -> Explained:
        """Up to `samples` descriptions of one feature; equal seeds give equal prompts."""
        ...


@runtime_checkable
class FeatureExplainer(Protocol):
    """Writes descriptions of many features: pattern tries, or an `Explainer` asked about each."""

    @property
    def name(self) -> str:
        """What it is, with everything that its descriptions depend on."""
        ...

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
        """Up to `samples` descriptions of each feature; `found` hears of each as soon as it is there.

        `levels` are activations that each feature seldom exceeds, the rarest first.
        """
        ...


@dataclass(frozen=True)
class Simulated:
    """Predicted activations, 0 to `SCALE`, of every token of each excerpt; None for an unreadable answer."""

    values: tuple[np.ndarray | None, ...]

    @property
    def failures(self) -> int:
        """Excerpts without a prediction."""
        return sum(one is None for one in self.values)


@runtime_checkable
class Simulator(Protocol):
    """Predicts a feature's activations from a description of it."""

    @property
    def name(self) -> str:
        """What it is, with the model."""
        ...

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        """Predictions for the tokens of each excerpt, aligned to the excerpt's own tokens."""
        ...


@dataclass(frozen=True, eq=False)
class Shown:
    """An excerpt put before a judge; `marked` [token] are the tokens highlighted in it, None for none."""

    excerpt: Excerpt
    marked: Bool[np.ndarray, " token"] | None = None


@runtime_checkable
class Judge(Protocol):
    """Says how well a description fits each of some texts."""

    @property
    def name(self) -> str:
        """What it is, with the model."""
        ...

    async def rate(self, candidate: Candidate, shown: Sequence[Shown]) -> list[float | None]:
        """A rating from 0 (does not fit) to 1 (fits; 0.5 or more is a yes); None where it was unreadable.

        Without marks: does the described feature fire somewhere in the text? With marks: on those tokens?
        """
        ...
