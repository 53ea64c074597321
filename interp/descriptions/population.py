"""Describe many features at once, and score the descriptions against each other's as a null."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp.descriptions.description import Description
from interp.descriptions.evidence import Evidence, Window
from interp.descriptions.excerpt import pieces
from interp.descriptions.explain import explain
from interp.descriptions.fit import build
from interp.descriptions.pattern import ExplainSettings
from interp.descriptions.query import Ask, Propose, propose_nothing
from interp.descriptions.reader import FeatureReader, SubjectProposals
from interp.descriptions.score import Measured, Score, Statistics, auroc, correlations, statistics
from interp.descriptions.sentence import describe
from interp.descriptions.wording import Show
from interp.features.ref import FeatureRef
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent


@dataclass(frozen=True)
class Described:
    """A feature with its description."""

    feature: FeatureRef
    description: Description


@dataclass(frozen=True)
class DescriptionScores:
    """A description held against report-split windows.

    `top` is on the feature's strongest windows, `random` on windows drawn without regard to it, `both` on as
    many of the one as of the other. `detection` is the probability that the description's largest
    prediction is larger on a top window than on a random one (AUROC). `measured` are the statistics behind
    the correlations.
    """

    top: Score
    random: Score
    both: Score
    detection: float
    measured: Measured


def describe_features(
    subject: Subject,
    features: Sequence[FeatureRef],
    evidence: Sequence[Evidence],
    settings: ExplainSettings | None = None,
    progress: Progress | None = None,
) -> list[Described]:
    """Describe features of a subject from their explain-split evidence, in the order given.

    Deterministic; a feature's description depends on the others only through the common stock of
    substitute tokens.
    """
    descriptions = describe_all(
        FeatureReader(subject, features),
        evidence,
        lambda tokens: "".join(pieces(subject, np.array(tokens))),
        settings,
        SubjectProposals(subject),
        progress,
    )
    return [Described(feature, one) for feature, one in zip(features, descriptions, strict=True)]


def describe_all(
    ask: Ask,
    evidence: Sequence[Evidence],
    show: Show,
    settings: ExplainSettings | None = None,
    propose: Propose = propose_nothing,
    progress: Progress | None = None,
) -> list[Description]:
    """Describe whatever `ask` answers for; `describe_features` for something that is not a subject."""
    settings = settings or ExplainSettings()
    patterns = explain(ask, evidence, settings, propose, progress)
    return [
        describe(build(found, one, settings), show, sum(pattern.exemplars for pattern in found))
        for found, one in zip(patterns, evidence, strict=True)
    ]


def score_descriptions(
    descriptions: Sequence[Description],
    top: Sequence[Sequence[Window]],
    random: Sequence[Sequence[Window]],
    nulls: int = 32,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[DescriptionScores]:
    """Score each description on its feature's report-split windows.

    `top[i]` and `random[i]` belong to description i. The null of i are the descriptions of up to `nulls`
    other features, on the windows of i. Windows with the same tokens (random ones shared by all features)
    are simulated once per description.
    """
    simulations: dict[tuple[int, bytes], np.ndarray] = {}

    def predicted(number: int, window: Window) -> np.ndarray:
        key = number, window.tokens.tobytes()
        if key not in simulations:
            simulations[key] = descriptions[number].simulate(window.tokens)
        return simulations[key]

    def measured(number: int, windows: Sequence[Window]) -> Statistics:
        return statistics(windows, [predicted(number, window) for window in windows])

    scored = []
    with (progress or silent()).task("scoring descriptions", len(descriptions), "descriptions") as advance:
        for i in range(len(descriptions)):
            rng = np.random.default_rng([seed, i])
            others = [j for j in range(len(descriptions)) if j != i]
            null = sorted(
                rng.choice(others, size=min(nulls, len(others)), replace=False).tolist() if others else []
            )
            own = Measured(measured(i, top[i]), measured(i, random[i]))
            foreign = [Measured(measured(j, top[i]), measured(j, random[i])) for j in null]
            found = correlations(own, foreign, seed)
            loudest = [
                [float(predicted(i, w).max(initial=-np.inf)) for w in ws] for ws in (top[i], random[i])
            ]
            scored.append(
                DescriptionScores(found.top, found.random, found.both, auroc(*loudest), measured=own)
            )
            advance(1)
    return scored
