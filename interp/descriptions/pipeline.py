"""Describes features, chooses among descriptions, and scores the chosen ones, inside a run or without.

Each step works on some features at a time, and keeps what is done of each in a `Journal`, so that a killed
run goes on with what is left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from interp.descriptions.candidate import Candidate, Explained, FeatureExplainer
from interp.descriptions.choice import NAN, Choice, ChosenScores
from interp.descriptions.population import others_drawn
from interp.descriptions.scoring import Scorer, Texts
from interp.descriptions.windows import gather_evidence
from interp.document import Split
from interp.features.ref import FeatureRef
from interp.llm.client import Client, run_with
from interp.mining.exemplars import outer_levels
from interp.mining.mined import Mined
from interp.track.journal import Journal
from interp.track.progress import Progress, silent

AT_ONCE = 32
"""Features whose text is read in one batch and whose calls run concurrently."""
ChooseBy = Literal["simulation", "detection"]
Advance = Callable[[float | int], None]


def explain_features(
    mined: Mined,
    features: Sequence[FeatureRef],
    explainer: FeatureExplainer,
    *,
    samples: int = 1,
    seed: int = 0,
    at_once: int = AT_ONCE,
    kept: Journal | None = None,
    progress: Progress | None = None,
) -> list[Explained]:
    """Writes up to `samples` descriptions of each feature from the explain split, in the order given."""
    progress, kept = progress or silent(), kept or Journal()
    explain = {name: space.exemplars["explain"] for name, space in mined.items()}
    with progress.task(f"describing by {explainer.name}", len(features), "features") as advance:
        for part in _parts(features, kept, at_once, advance):
            gathered = gather_evidence(
                mined.subject, mined.corpus, part, explain, mined.config.context_size, progress
            )

            def found(place: int, explained: Explained, part: Sequence[FeatureRef] = part) -> None:
                kept.add(part[place].key, explained.to_json())
                advance(1)

            levels = [outer_levels(explain[feature.space.name], feature) for feature in part]
            evidence = [one for one, _ in gathered]
            explainer.explain_all(part, evidence, samples, seed, levels=levels, found=found)
    return [Explained.from_json(kept.done[feature.key]) for feature in features]


def choose_descriptions(
    scorer: Scorer,
    features: Sequence[FeatureRef],
    written: Sequence[Sequence[Sequence[Candidate]]],
    by: ChooseBy = "simulation",
    *,
    clients: Sequence[Client] = (),
    at_once: int = AT_ONCE,
    kept: Journal | None = None,
    progress: Progress | None = None,
) -> list[list[Choice]]:
    """Chooses the best description of each feature and explainer by its score on the select split.

    `written` are the candidates [feature][explainer]; the first is chosen where no score exists. Text is read
    only of features for which some explainer wrote several; the other candidates have no score.
    """
    several = [
        feature
        for feature, candidates in zip(features, written, strict=True)
        if any(len(of) > 1 for of in candidates)
    ]
    places = {feature.key: place for place, feature in enumerate(features)}

    async def work(place: int, texts: Texts) -> list[list[float]]:
        return [
            list(await asyncio.gather(*(scorer.choice(one, texts, by) for one in candidates)))
            for candidates in written[places[several[place].key]]
        ]

    done = _each("choosing descriptions", scorer, several, "select", work, clients, at_once, kept, progress)
    chosen = []
    for feature, candidates in zip(features, written, strict=True):
        scores = done.get(feature.key, [[NAN] * len(of) for of in candidates])
        values = [np.array(v, dtype=float) for v in scores]
        best = [int(np.nanargmax(v)) if len(v) and not np.isnan(v).all() else 0 for v in values]
        chosen.append(
            [
                Choice(tuple(of), tuple(v.tolist()), b)
                for of, v, b in zip(candidates, values, best, strict=True)
            ]
        )
    return chosen


def score_choices(
    scorer: Scorer,
    features: Sequence[FeatureRef],
    choices: Sequence[Sequence[Choice]],
    by: ChooseBy = "simulation",
    *,
    nulls: int = 8,
    seed: int = 0,
    clients: Sequence[Client] = (),
    at_once: int = AT_ONCE,
    kept: Journal | None = None,
    progress: Progress | None = None,
) -> list[list[ChosenScores | None]]:
    """Scores each chosen description on the report split in every way; None if there is no description.

    Each stands beside the scores of up to `nulls` chosen descriptions of other features by the same
    explainer, on the same text.
    """

    def null(place: int, number: int) -> list[Candidate]:
        chosen = [of[number].chosen for of in choices]
        there = [other for other, one in enumerate(chosen) if one is not None]
        drawn = (chosen[other] for other in others_drawn(there, place, nulls, [seed, place, number]))
        return [one for one in drawn if one is not None]

    async def work(place: int, texts: Texts) -> list[dict[str, Any] | None]:
        feature = features[place]
        continued = scorer.continued(feature, texts)
        found: list[dict[str, Any] | None] = []
        for number, choice in enumerate(choices[place]):
            if choice.chosen is None:
                found.append(None)
                continue
            rows = await scorer.scores(feature, choice.chosen, texts, null(place, number), continued)
            first = await scorer.choice(choice.candidates[0], texts, by)
            own = await scorer.choice(choice.chosen, texts, by)
            found.append(ChosenScores(tuple(rows), first, own).to_json())
        return found

    done = _each("scoring descriptions", scorer, features, "report", work, clients, at_once, kept, progress)
    return [
        [None if one is None else ChosenScores.from_json(one) for one in done[feature.key]]
        for feature in features
    ]


def _parts(
    features: Sequence[FeatureRef], kept: Journal, at_once: int, advance: Advance
) -> Iterator[list[FeatureRef]]:
    """Yields the features that are not kept yet, some at a time."""
    left = [feature for feature in features if feature.key not in kept.done]
    advance(len(features) - len(left))
    for start in range(0, len(left), at_once):
        yield left[start : start + at_once]


def _each(
    what: str,
    scorer: Scorer,
    features: Sequence[FeatureRef],
    split: Split,
    work: Callable[[int, Texts], Awaitable[Any]],
    clients: Sequence[Client],
    at_once: int,
    kept: Journal | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Works on every feature with its text of a split; returns results by key, kept as they come."""
    progress, kept = progress or silent(), kept or Journal()
    places = {feature.key: place for place, feature in enumerate(features)}
    with progress.task(what, len(features), "features") as advance:
        for part in _parts(features, kept, at_once, advance):
            texts = scorer.texts(part, split, progress)

            async def one(place: int, part: Sequence[FeatureRef], texts: Sequence[Texts]) -> None:
                key = part[place].key
                kept.add(key, await work(places[key], texts[place]))
                advance(1)

            async def together(part: Sequence[FeatureRef] = part, texts: Sequence[Texts] = texts) -> None:
                await asyncio.gather(*(one(place, part, texts) for place in range(len(part))))

            run_with(together(), list(clients))
    return kept.done
