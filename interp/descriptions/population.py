"""Describe many features at once, and score the descriptions against each other's as a null."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from interp.descriptions.candidate import Candidate
from interp.descriptions.description import Description
from interp.descriptions.evidence import Evidence, Window
from interp.descriptions.excerpt import Excerpt, pieces
from interp.descriptions.explain import explain
from interp.descriptions.first_order import SubjectSlopes
from interp.descriptions.fit import build_trie
from interp.descriptions.pattern import ExplainSettings
from interp.descriptions.query import Ask, Propose, Slopes, propose_nothing
from interp.descriptions.reader import FeatureReader, NearestTokens, WindowPasses
from interp.descriptions.scorers.simulation import SimulationScore, simulation
from interp.descriptions.sentence import pattern_sentence
from interp.descriptions.simulators.known import TrieSimulator
from interp.descriptions.wording import Show
from interp.features.ref import FeatureRef
from interp.llm.running import run_with
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent

NAME = "patterns"
"""What tells a description by pattern tries."""


def describe_features(
    subject: Subject,
    features: Sequence[FeatureRef],
    evidence: Sequence[Evidence],
    settings: ExplainSettings | None = None,
    progress: Progress | None = None,
    spent: WindowPasses | None = None,
) -> list[Description]:
    """Describe features of a subject from their explain-split evidence, in the order given.

    Deterministic; a feature's description depends on the others only through the common stock of
    substitute tokens. `spent` counts the passes through the model.
    """
    return describe_all(
        FeatureReader(subject, features, spent=spent),
        evidence,
        lambda tokens: "".join(pieces(subject, np.array(tokens))),
        settings,
        NearestTokens(subject),
        SubjectSlopes(subject, features, spent=spent),
        progress,
    )


def describe_all(
    ask: Ask,
    evidence: Sequence[Evidence],
    show: Show,
    settings: ExplainSettings | None = None,
    propose: Propose = propose_nothing,
    slopes: Slopes | None = None,
    progress: Progress | None = None,
) -> list[Description]:
    """Describe whatever `ask` answers for; `describe_features` for something that is not a subject."""
    settings = settings or ExplainSettings()
    patterns = explain(ask, evidence, settings, propose, slopes, progress)
    return [
        pattern_sentence(build_trie(found, one, settings), show, sum(pattern.exemplars for pattern in found))
        for found, one in zip(patterns, evidence, strict=True)
    ]


def score_descriptions(
    descriptions: Sequence[Description],
    top: Sequence[Sequence[Window]],
    random: Sequence[Sequence[Window]],
    nulls: int = 32,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[SimulationScore]:
    """Score each description, by its own trie, on its feature's report-split windows.

    `top[i]` and `random[i]` belong to description i. The null of i are the descriptions of up to `nulls`
    other features, on the windows of i. Windows with the same tokens (random ones shared by all features)
    are simulated once per description.
    """
    simulator = TrieSimulator()
    candidates = [Candidate(one.text, NAME, pattern=one) for one in descriptions]

    async def all_of_them(advance: Callable[[float | int], None]) -> list[SimulationScore]:
        scored = []
        for i, candidate in enumerate(candidates):
            others = sorted(others_drawn(range(len(candidates)), i, nulls, [seed, i]))
            strong, weak = ([Excerpt(window, ()) for window in windows[i]] for windows in (top, random))
            null = [candidates[other] for other in others]
            scored.append(await simulation(simulator, candidate, strong, weak, null, seed))
            advance(1)
        return scored

    with (progress or silent()).task("scoring descriptions", len(candidates), "descriptions") as advance:
        return run_with(all_of_them(advance), ())


def others_drawn(places: Iterable[int], own: int, n: int, seed: Sequence[int]) -> list[int]:
    """Up to `n` of the places that are not one's own, drawn at random: whose descriptions make a null."""
    others = [place for place in places if place != own]
    if not others:
        return []
    drawn = np.random.default_rng(seed).choice(others, size=min(n, len(others)), replace=False)
    return [int(place) for place in drawn]
