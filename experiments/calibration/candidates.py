"""Writes descriptions of every quality, good and bad, for features whose concept is known."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interp.compare.known_features import KnownFeature
from interp.descriptions.candidate import Candidate
from interp.descriptions.evidence import Evidence, definition
from interp.descriptions.explainers.patterns import PatternExplainer
from interp.document import Corpus
from interp.features.ref import FeatureRef
from interp.track.progress import Progress

from .config import CandidatesConfig

TRUE, OTHER = "true definition", "other definition"
MEAGRE, FOREIGN = "patterns of two exemplars", "patterns of another feature"
MEAGRE_TEXTS = 8


def write_candidates(
    corpus: Corpus,
    known: Sequence[KnownFeature],
    features: Sequence[FeatureRef],
    evidence: Sequence[Evidence],
    explainer: PatternExplainer,
    options: CandidatesConfig,
    seed: int,
    progress: Progress,
) -> list[list[Candidate]]:
    """Returns the candidate descriptions of each feature, in the order of `features`."""
    good = explainer.explain_all(features, evidence, options.patterns, seed, progress)
    thin = [
        meagre(one, [seed, *feature.seed, number])
        for feature, one in zip(features, evidence, strict=True)
        for number in range(options.meagre)
    ]
    repeated = [feature for feature in features for _ in range(options.meagre)]
    poor = explainer.explain_all(repeated, thin, 1, seed, progress)
    found = []
    for place, one in enumerate(known):
        rng = np.random.default_rng([seed, *features[place].seed])
        strangers = [other for other, its in enumerate(known) if its.concept != one.concept]
        drawn = rng.choice(strangers, size=min(options.foreign, len(strangers)), replace=False).tolist()
        mine = poor[place * options.meagre : (place + 1) * options.meagre]
        found.append(
            [
                Candidate(definition(corpus, one.concept), TRUE, concept=one.concept),
                *(
                    Candidate(definition(corpus, name), OTHER, number, concept=name)
                    for number, name in enumerate(one.next_concepts[: options.concepts])
                ),
                *good[place].candidates,
                *(
                    replace(explained.candidates[0], explainer=MEAGRE, sample=number)
                    for number, explained in enumerate(mine)
                ),
                *(
                    replace(good[other].candidates[0], explainer=FOREIGN, sample=number)
                    for number, other in enumerate(drawn)
                ),
            ]
        )
    return found


def meagre(evidence: Evidence, seed: Sequence[int]) -> Evidence:
    """Keeps two of the exemplars, and few windows to contrast them with."""
    n = len(evidence.exemplars)
    kept = np.random.default_rng(seed).choice(n, size=min(2, n), replace=False)
    return Evidence([evidence.exemplars[i] for i in np.sort(kept)], (), evidence.random[:MEAGRE_TEXTS])
