"""The values that explainers, simulators and judges exchange, and their protocols."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from interp.descriptions.description import Description
from interp.descriptions.evidence import Evidence
from interp.descriptions.excerpt import Excerpt, TextEvidence
from interp.descriptions.explainers.highlight import mark
from interp.features.ref import FeatureRef
from interp.track.progress import Progress

SCALE = 10.0
"""The largest simulated activation; the least is 0."""


@dataclass(frozen=True)
class Candidate:
    """A description of one feature by one explainer.

    `pattern` is the trie that the words were written from, if there is one; `concept` the label of the corpus
    that the words define, if they do. Only `simulators.known` uses either.
    """

    text: str
    explainer: str
    sample: int = 0
    pattern: Description | None = None
    concept: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, from which `from_json` restores the same candidate."""
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
    """What an explainer found for one feature; `failures` counts answers that could not be parsed."""

    candidates: tuple[Candidate, ...]
    failures: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, from which `from_json` restores the same."""
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
        """The explainer's name, with everything that its descriptions depend on (the model, the prompt)."""
        ...

    async def explain(self, evidence: TextEvidence, samples: int, seed: int) -> Explained:
        """Writes up to `samples` descriptions of one feature; equal seeds give equal prompts."""
        ...


@runtime_checkable
class FeatureExplainer(Protocol):
    """Writes descriptions of many features: pattern tries, or an `Explainer` asked about each."""

    @property
    def name(self) -> str:
        """The explainer's name, with everything that its descriptions depend on."""
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
        """Writes up to `samples` descriptions of each feature; calls `found` as soon as one is done.

        `levels` are activations that each feature seldom exceeds, the rarest first.
        """
        ...


@dataclass(frozen=True)
class Simulated:
    """Predicted activations, 0 to `SCALE`, of every token of each excerpt; None if unparseable."""

    values: tuple[np.ndarray | None, ...]

    @property
    def failures(self) -> int:
        """The number of excerpts without a prediction."""
        return sum(one is None for one in self.values)


@runtime_checkable
class Simulator(Protocol):
    """Predicts a feature's activations from a description of it."""

    @property
    def name(self) -> str:
        """Its name, with the model."""
        ...

    async def simulate(self, candidate: Candidate, excerpts: Sequence[Excerpt]) -> Simulated:
        """Predicts activations for the tokens of each excerpt, aligned to the excerpt's own tokens."""
        ...


@dataclass(frozen=True, eq=False)
class Shown:
    """An excerpt shown to a judge; `marked` [token] are its highlighted tokens, None for none."""

    excerpt: Excerpt
    marked: Bool[np.ndarray, " token"] | None = None

    @property
    def line(self) -> str:
        """Its text on one line, the highlighted tokens between `{{` and `}}`."""
        text = self.excerpt.text if self.marked is None else mark(self.excerpt, self.marked)
        return text.strip().replace("\n", "⏎")


@runtime_checkable
class Judge(Protocol):
    """Rates how well a description fits each of some texts."""

    @property
    def name(self) -> str:
        """Its name, with the model."""
        ...

    async def rate(self, candidate: Candidate, shown: Sequence[Shown]) -> list[float | None]:
        """Rates each text from 0 (does not fit) to 1 (fits; 0.5 or more is a yes); None if unparseable.

        Without marks: does the described feature fire somewhere in the text? With marks: on those tokens?
        """
        ...
