"""What is written to a store and read from it, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Provenance = Mapping[str, Any]


@dataclass(frozen=True)
class SpaceRow:
    """A feature space of one subject; `provenance`: where it comes from (an SAE's folder, a mining run)."""

    subject: str
    name: str
    site: str
    layer: int | None
    n_features: int
    signed: bool
    provenance: Provenance = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreRow:
    """One score of a description: what kind, by what, on which split; with its interval and its null."""

    kind: str
    scorer: str
    split: str
    value: float | None
    low: float | None = None
    high: float | None = None
    null_mean: float | None = None
    null_low: float | None = None
    null_high: float | None = None
    n: int = 0
    failures: int = 0


@dataclass(frozen=True)
class DescriptionRow:
    """A description; `chosen` marks the best of its feature and explainer, `interesting` None is unknown."""

    text: str
    explainer: str
    sample: int = 0
    summary: str = ""
    chosen: bool = True
    interesting: bool | None = None
    reason: str = ""
    provenance: Provenance = field(default_factory=dict)
    scores: tuple[ScoreRow, ...] = ()


@dataclass(frozen=True)
class ExemplarRow:
    """A pointer to a window: of which corpus and split, where, how high the feature peaks, in which band."""

    corpus: str
    split: str
    document: int
    start: int
    value: float
    band: str
    quantile: float | None = None


@dataclass(frozen=True)
class FeatureRow:
    """A feature of one polarity with all that is known of it.

    `quantiles` maps probabilities, written as text, to quantiles of the activation in the polarity.
    """

    space: str
    feature_id: int
    polarity: int
    rate: float | None = None
    quantiles: Mapping[str, float] = field(default_factory=dict)
    descriptions: tuple[DescriptionRow, ...] = ()
    exemplars: tuple[ExemplarRow, ...] = ()

    @property
    def key(self) -> str:
        """As `FeatureRef.key` writes it."""
        return f"{self.space}/{self.feature_id}{'+' if self.polarity > 0 else '-'}"
