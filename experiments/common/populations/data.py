"""The data of the pages on populations of features: plain values, immutable once made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from interp.compare.populations import PopulationKind
from interp.render.page import RunInfo, StudiedModel
from interp.statistics.estimate import Estimate, Number

KINDS: tuple[PopulationKind, ...] = ("neuron", "latent", "direction", "random")
PLURAL: Mapping[PopulationKind, str] = {
    "neuron": "neurons",
    "latent": "latents",
    "direction": "directions",
    "random": "random directions",
}


@dataclass(frozen=True)
class DescribedPopulation:
    """One kind of feature as a whole.

    `total` counts the features of this kind in the model, `described` those sampled and described, and
    `undefined` those of them whose score is undefined. The four estimates are mean scores (Pearson r): on top
    windows, on random windows, on both, and of shuffled descriptions (`null`, with its range). `note` says in
    plain words what they are and how they were sampled ("MLP neurons of all 8 layers, both polarities").
    `name` tells populations of one kind apart.
    """

    kind: PopulationKind
    total: int
    described: int
    both: Estimate
    top: Estimate
    random: Estimate
    null: Estimate
    undefined: int = 0
    note: str = ""
    name: str = ""

    @property
    def label(self) -> str:
        """The name, or the kind in the plural if it has none."""
        return self.name or PLURAL[self.kind]


@dataclass(frozen=True)
class Difference:
    """The mean score of latents minus that of neurons, with its bootstrap interval."""

    estimate: Estimate
    paired: bool
    resamples: int


@dataclass(frozen=True)
class Piece:
    """A stretch of a description; `token` marks words quoted from the data, which are set in monospace."""

    text: str
    token: bool = False


@dataclass(frozen=True)
class Exemplar:
    """One window of text with the activation of a feature at each token.

    `values` are in units of activation, positive in the direction of the feature's polarity. `peak` indexes
    the tokens of the window, or is None in a silent window. `start` is the position of the first token in its
    document. `band` is "top", "silent" or a quantile such as "q0.9". `split` names the part of the corpus.
    """

    tokens: Sequence[str]
    values: Sequence[Number]
    band: str
    token_ids: Sequence[int] | None = None
    peak: int | None = None
    split: str = ""
    start: int = 0


@dataclass(frozen=True)
class DescribedFeature:
    """One described feature.

    `both`, `top` and `random` are Pearson r between the activation the description predicts and the true one;
    `null` is the same for shuffled descriptions: a score that does not exceed `null.high` (or `null.value`
    where no range is given) is shown as a guess. `quantiles` are pairs (probability, activation) over tokens.
    `unbanded` says why there are no exemplars of activation bands, if there are none.
    """

    key: str
    kind: PopulationKind
    layer: int
    feature_id: int
    description: str | Sequence[Piece]
    both: Estimate
    top: Estimate
    random: Estimate
    null: Estimate
    mean_activation: Number
    firing_rate: Number
    max_activation: Number
    polarity: int = 1
    signed: bool = False
    quantiles: Sequence[tuple[Number, Number]] = ()
    concept: str | None = None
    concept_auroc: Number | None = None
    exemplars: Sequence[Exemplar] = ()
    unbanded: str = ""
    population: str = ""

    @property
    def group(self) -> str:
        """The label of the population that the feature belongs to."""
        return self.population or PLURAL[self.kind]

    @property
    def text(self) -> str:
        """The description as one string."""
        if isinstance(self.description, str):
            return self.description
        return "".join(piece.text for piece in self.description)

    @property
    def is_guess(self) -> bool:
        """True if the score is undefined or no better than that of shuffled descriptions."""
        if self.both.point is None:
            return True
        bar = self.null.value if math.isnan(self.null.high) else self.null.high
        return self.both.value <= bar


@dataclass(frozen=True)
class ConceptScore:
    """How well the best feature of one method detects one labelled concept: AUROC over tokens.

    `method` is "neurons", "latents", "random" or any further one, such as "neurons, same layer".
    `feature` is the key of the best feature and `positives` counts the tokens that carry the concept.
    """

    concept: str
    method: str
    auroc: Number
    low: Number | None
    high: Number | None
    feature: str = ""
    positives: int = 0

    @property
    def estimate(self) -> Estimate:
        """The AUROC with its interval."""
        return Estimate(self.auroc, *(math.nan if end is None else end for end in (self.low, self.high)))


@dataclass(frozen=True)
class SaeReport:
    """The sparse autoencoder: final metrics, and training history as name -> [(tokens seen, value)]."""

    site: str
    width: int
    metrics: Mapping[str, Number]
    history: Mapping[str, Sequence[tuple[Number, Number]]] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitFacts:
    """The size of one split of the text, and what it was used for."""

    name: str
    documents: int
    tokens: int
    use: str = ""


@dataclass(frozen=True)
class CorpusFacts:
    """The text that was read."""

    name: str
    documents: int
    tokens: int
    splits: Sequence[SplitFacts] = ()
    note: str = ""


@dataclass(frozen=True)
class PopulationsData:
    """All data of a page on populations of features.

    A concept counts as found when the AUROC of its best feature is at least `found_auroc` and its interval
    lies above that of the random baseline. `timing` is step -> seconds. `limits` are sentences. `special_ids`
    are the token ids shown as pills (BOS and the like).
    """

    subject: StudiedModel
    run: RunInfo
    corpus: CorpusFacts
    populations: Sequence[DescribedPopulation]
    difference: Difference | None
    features: Sequence[DescribedFeature]
    question: str
    concepts: Sequence[ConceptScore] = ()
    sae: SaeReport | None = None
    timing: Mapping[str, Number] = field(default_factory=dict)
    limits: Sequence[str] = ()
    special_ids: frozenset[int] = frozenset()
    found_auroc: Number = 0.9

    def population(self, kind: PopulationKind) -> DescribedPopulation | None:
        """The population of that kind, or None."""
        return next((p for p in self.populations if p.kind == kind), None)
