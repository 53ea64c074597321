"""Concept recovery: how well the best feature of each kind detects a labelled concept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from interp.document import Corpus
from interp.features.ref import FeatureRef
from interp.features.space import Polarity
from interp.mining.exemplars import TokenSample, labels_at
from interp.mining.mined import MinedSpaces
from interp.statistics.auroc import auroc_interval, auroc_table
from interp.statistics.estimate import Estimate, central
from interp.track.progress import Progress, silent

LEAST_TOKENS = 10
"""Least number of tokens with a concept for a feature's activations to be shown by it."""


@dataclass(frozen=True)
class Candidates:
    """Features that compete as one method: the token samples of their spaces on two splits.

    `signed` allows a feature's negative polarity, too.
    """

    select: Mapping[str, TokenSample]
    report: Mapping[str, TokenSample]
    signed: bool

    @classmethod
    def of(cls, mined: MinedSpaces, names: Sequence[str], signed: bool) -> "Candidates":
        """Makes candidates of the features of the named spaces; `mined` is by the name of the space."""
        return cls(
            {name: mined[name].samples["select"] for name in names},
            {name: mined[name].samples["report"] for name in names},
            signed,
        )


@dataclass(frozen=True)
class ConceptRecovery:
    """One method's best feature for one concept, chosen on the select split, measured on the report split.

    `auroc` is over the sampled report tokens, `positives` of which carry the concept; `low` and `high` are
    its 95% interval over documents. `selected_auroc` is its value on the select split: the excess is
    the optimism of choosing among `n_candidates`.
    """

    concept: str
    method: str
    space: str
    feature_id: int
    polarity: Polarity
    auroc: float
    low: float
    high: float
    selected_auroc: float
    positives: int
    n_candidates: int


def recover_concepts(
    corpus: Corpus,
    methods: Mapping[str, Candidates],
    least_positives: int = 10,
    draws: int = 300,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[ConceptRecovery]:
    """Finds each method's best feature for each concept, and measures it on text it was not chosen on.

    Concepts carried by fewer than `least_positives` sampled tokens of either split are left out.
    """
    results: list[ConceptRecovery] = []
    first = next(iter(methods.values()))
    samples = [next(iter(part.values())) for part in (first.select, first.report)]
    select_labels, report_labels = (labels_at(corpus, sample) for sample in samples)
    measurable = (select_labels.sum(0) >= least_positives) & (report_labels.sum(0) >= least_positives)
    document = samples[1].document.numpy().astype(np.int64)
    with (progress or silent()).task(
        "comparing with the concept labels", total=len(methods), unit="methods"
    ) as advance:
        for method, candidates in methods.items():
            best, tables = _best(candidates, select_labels)
            n_candidates = sum(len(table) for table in tables) * (2 if candidates.signed else 1)
            for concept in measurable.nonzero()[:, 0].tolist():
                space, feature_id, polarity, selected = best[concept]
                score = candidates.report[space].value[:, feature_id].double().numpy() * polarity
                label = report_labels[:, concept].numpy()
                area = auroc_interval(score, label, document, draws, seed)
                name, positives = corpus.label_names[concept], int(label.sum())
                results.append(
                    ConceptRecovery(
                        name, method, space, feature_id, polarity, *area, selected, positives,
                        n_candidates,
                    )
                )  # fmt: skip
            advance(1)
    return results


def _best(
    candidates: Candidates, labels: Bool[Tensor, "token label"]
) -> tuple[list[tuple[str, int, Polarity, float]], list[Float[Tensor, "feature label"]]]:
    """Finds, for each concept, space, feature, polarity and AUROC of the best candidate on select."""
    spaces = list(candidates.select)
    tables = [auroc_table(candidates.select[space].value.float(), labels) for space in spaces]
    joined = torch.cat(tables)
    strength = torch.maximum(joined, 1 - joined) if candidates.signed else joined
    space_of = np.repeat(np.arange(len(spaces)), [len(table) for table in tables])
    start = np.cumsum([0] + [len(table) for table in tables])
    best: list[tuple[str, int, Polarity, float]] = []
    for concept in range(labels.shape[1]):
        place = int(strength[:, concept].nan_to_num(-1).argmax())
        space = int(space_of[place])
        polarity: Polarity = -1 if candidates.signed and joined[place, concept] < 0.5 else 1
        best.append((spaces[space], place - int(start[space]), polarity, float(strength[place, concept])))
    return best, tables


def found(recoveries: Sequence[ConceptRecovery], method: str, against: str, least: float) -> list[str]:
    """Returns concepts whose best feature reaches `least`, with an interval above that of another method."""
    bar = {r.concept: r.high for r in recoveries if r.method == against}
    return [
        r.concept
        for r in recoveries
        if r.method == method and r.auroc >= least and r.low > bar.get(r.concept, 0.0)
    ]


def mean_difference(
    recoveries: Sequence[ConceptRecovery], one: str, two: str, draws: int = 2000, seed: int = 0
) -> Estimate:
    """Returns the mean over concepts of AUROC(one) - AUROC(two), with a paired bootstrap interval."""
    table: dict[str, dict[str, float]] = {}
    for r in recoveries:
        table.setdefault(r.concept, {})[r.method] = r.auroc
    pairs: NDArray[np.float64] = np.array([m[one] - m[two] for m in table.values() if one in m and two in m])
    if not len(pairs):
        return Estimate()
    picks = np.random.default_rng(seed).integers(len(pairs), size=(draws, len(pairs)))
    return Estimate(float(pairs.mean()), *central(pairs[picks].mean(1)))


def activations_by_concept(
    corpus: Corpus, mined: MinedSpaces, feature: FeatureRef, most: int = 6
) -> list[tuple[str, Float[np.ndarray, " token"]]]:
    """Groups activations on sampled report tokens by the labels that the feature detects best; others last.

    Labels are ranked by the AUROC of the feature's polarity on the select split; those that fewer than
    `LEAST_TOKENS` sampled tokens of either split carry are left out. Activations keep their sign.
    """
    select, report = (mined[feature.space.name].samples[split] for split in ("select", "report"))
    tells, labels = labels_at(corpus, select), labels_at(corpus, report)
    side = select.value[:, [feature.feature_id]].float() * feature.polarity
    auroc = auroc_table(side, tells)[0]
    enough = (tells.sum(0) >= LEAST_TOKENS) & (labels.sum(0) >= LEAST_TOKENS)
    ranked = auroc.masked_fill(~enough, -1).nan_to_num(-1).argsort(descending=True)[:most].tolist()
    values = report.value[:, feature.feature_id].double().numpy()
    shown = [number for number in ranked if bool(enough[number])]
    groups = [(corpus.label_names[number], values[labels[:, number].numpy()]) for number in shown]
    none = ~labels[:, shown].any(1) if shown else torch.ones(len(values), dtype=torch.bool)
    return [*groups, ("all other tokens", values[none.numpy()])]
