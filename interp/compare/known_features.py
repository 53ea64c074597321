"""Finds features whose concept is known: probes trained for one, neurons and latents that detect one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from interp.compare.detection import measurable
from interp.compare.labelled import SplitActivations, read_labelled
from interp.compare.probe import Probes, train_probes
from interp.document import Corpus, Split
from interp.errors import UserError
from interp.features.space import ReadableFeatures, polarities
from interp.fields import Auroc, Count, Extent, Section
from interp.statistics.auroc import auroc_table
from interp.subject import Site, Subject
from interp.track.progress import Progress


class KnownFeaturesConfig(Section):
    """Which features have a known concept: probes, and neurons and latents that detect a concept well."""

    of_each: Count = 24
    """Largest number of latents, and of neurons of the site's layer."""
    a_concept: Count = 2
    """Largest number of these with the same concept."""
    least_auroc: Auroc = 0.9
    """Least AUROC, on the select split, of a neuron or latent for its best concept."""
    least_positives: Count = 20
    """Least number of sampled tokens with a concept, on each split."""
    max_tokens: Extent = Field(40_000, ge=1000)
    """Tokens of each split that are read."""
    sampled_tokens: Count = Field(12_000, ge=1000)
    """Number of these tokens that are sampled, to train probes and to find concepts."""


PROBE = "probe"
SPACE = "directions.probe"


@dataclass(frozen=True)
class KnownFeature:
    """A feature and the concept that it represents.

    `auroc` is measured on the select split; `next_concepts` are those that it detects next best there.
    """

    kind: str
    space: str
    feature_id: int
    polarity: int
    concept: str
    auroc: float
    next_concepts: tuple[str, ...]

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "KnownFeature":
        """Restores what `dataclasses.asdict` gave, by way of JSON."""
        return cls(**{**saved, "next_concepts": tuple(saved["next_concepts"])})


@dataclass(frozen=True)
class KnownFeatures:
    """Features with a known concept, and the vectors [probe, d_site] of the probes among them."""

    known: list[KnownFeature]
    vectors: Float[Tensor, "probe d_site"]


def find_known_features(
    subject: Subject,
    corpus: Corpus,
    site: Site,
    spaces: Mapping[str, ReadableFeatures],
    options: KnownFeaturesConfig,
    context_size: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> KnownFeatures:
    """Trains a probe of every concept with enough tokens, and finds each kind's best detectors."""

    def read(split: Split, with_spaces: Sequence[ReadableFeatures]) -> SplitActivations:
        return read_labelled(
            subject, corpus, split, site, with_spaces, options.max_tokens, options.sampled_tokens,
            context_size, seed, progress,
        )  # fmt: skip

    explain, select, report = read("explain", []), read("select", list(spaces.values())), read("report", [])
    least = options.least_positives
    kept = measurable(select.tokens, report.tokens, least) & (explain.tokens.labels.sum(0) >= least)
    places = kept.nonzero()[:, 0].tolist()
    if len(places) < 2:
        raise UserError(
            f"{len(places)} concepts have {least} sampled tokens of every split",
            "features.least_positives",
            "ask for fewer, or give more text (corpus, features.sampled_tokens)",
        )
    names = [corpus.label_names[place] for place in places]
    labels = select.tokens.labels[:, places]
    probes = train_probes(
        (explain.activations[explain.sample], explain.tokens.labels[:, places]),
        (select.activations[select.sample], labels),
        progress=progress,
    )
    known = _probes(probes, select, labels, names)
    for kind, space in spaces.items():
        known += _detectors(kind, space, select, labels, names, options)
    return KnownFeatures(known, probes.direction)


def _probes(
    probes: Probes, select: SplitActivations, labels: Tensor, names: Sequence[str]
) -> list[KnownFeature]:
    table = auroc_table(probes.scores(select.activations[select.sample]), labels)
    return [
        KnownFeature(
            PROBE, SPACE, place, 1, name, float(table[place, place]), _next(table[place], place, names)
        )
        for place, name in enumerate(names)
    ]


def _detectors(
    kind: str,
    space: ReadableFeatures,
    select: SplitActivations,
    labels: Tensor,
    names: Sequence[str],
    options: KnownFeaturesConfig,
) -> list[KnownFeature]:
    """Finds the best detectors of a space, at most `options.a_concept` for the same concept."""
    sides = polarities(space)
    tables = [auroc_table(select.tokens.side(space.name, side).float(), labels) for side in sides]
    table = torch.cat(tables)
    best = table.max(dim=1)
    found: list[KnownFeature] = []
    for row in best.values.argsort(descending=True).tolist():
        if best.values[row] < options.least_auroc or len(found) == options.of_each:
            break
        place = int(best.indices[row])
        if sum(one.concept == names[place] for one in found) < options.a_concept:
            side, feature_id = sides[row // space.n_features], row % space.n_features
            following = _next(table[row], place, names)
            found.append(
                KnownFeature(
                    kind, space.name, feature_id, side, names[place], float(best.values[row]), following
                )
            )
    return found


def _next(aurocs: Float[Tensor, " label"], place: int, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[other] for other in aurocs.argsort(descending=True).tolist() if other != place)
