"""Describes features, chooses among descriptions, and scores the chosen ones, inside a run or without.

Each step works on some features at a time, in this process or by the workers of an engine, and keeps what is
done of each in a `Journal`, so that a killed run goes on with what is left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from interp.descriptions.candidate import Candidate, Explained, FeatureExplainer
from interp.descriptions.choice import NAN, Choice, ChosenScores
from interp.descriptions.population import others_drawn
from interp.descriptions.scoring import Scorer, Texts
from interp.descriptions.windows import gather_evidence
from interp.document import Split
from interp.engine.engine import Engine
from interp.features.ref import FeatureRef
from interp.llm.client import Client, run_with
from interp.mining.exemplars import outer_levels
from interp.mining.mined import Mined
from interp.track.journal import Journal
from interp.track.progress import Progress, silent

AT_ONCE = 32
"""Features whose text is read in one batch and whose calls run concurrently."""
ChooseBy = Literal["simulation", "detection"]
Done = Callable[[str, Any], None]
"""Takes the result of one feature, by its key."""
Work = Callable[[Sequence[int], Done], None]
"""Works on some features, by their places, together."""


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
    engine: Engine | None = None,
) -> list[Explained]:
    """Writes up to `samples` descriptions of each feature from the explain split, in the order given."""
    work = partial(_explain, mined, features, explainer, samples, seed, progress)
    done = _each(f"describing by {explainer.name}", features, work, at_once, kept, progress, engine)
    return [Explained.from_json(done[feature.key]) for feature in features]


def _explain(
    mined: Mined,
    features: Sequence[FeatureRef],
    explainer: FeatureExplainer,
    samples: int,
    seed: int,
    progress: Progress | None,
    part: Sequence[int],
    done: Done,
) -> None:
    explain = {name: space.exemplars["explain"] for name, space in mined.items()}
    chosen = [features[place] for place in part]
    gathered = gather_evidence(
        mined.subject, mined.corpus, chosen, explain, mined.config.context_size, progress
    )

    def found(place: int, explained: Explained) -> None:
        done(chosen[place].key, explained.to_json())

    levels = [outer_levels(explain[feature.space.name], feature) for feature in chosen]
    evidence = [one for one, _ in gathered]
    explainer.explain_all(chosen, evidence, samples, seed, levels=levels, found=found)


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
    engine: Engine | None = None,
) -> list[list[Choice]]:
    """Chooses the best description of each feature and explainer by its score on the select split.

    `written` are the candidates [feature][explainer]; the first is chosen where no score exists. Text is read
    only of features for which some explainer wrote several; the other candidates have no score.
    """
    several = [place for place, of in enumerate(written) if any(len(candidates) > 1 for candidates in of)]
    to_choose = [features[place] for place in several]
    choose = partial(_choose, scorer, [written[place] for place in several], by)
    work = partial(_scored, scorer, to_choose, "select", choose, clients, progress)
    done = _each("choosing descriptions", to_choose, work, at_once, kept, progress, engine)
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
    engine: Engine | None = None,
) -> list[list[ChosenScores | None]]:
    """Scores each chosen description on the report split in every way; None if there is no description.

    Each stands beside the scores of up to `nulls` chosen descriptions of other features by the same
    explainer, on the same text.
    """
    score = partial(_score, scorer, features, choices, by, nulls, seed)
    work = partial(_scored, scorer, features, "report", score, clients, progress)
    done = _each("scoring descriptions", features, work, at_once, kept, progress, engine)
    return [
        [None if one is None else ChosenScores.from_json(one) for one in done[feature.key]]
        for feature in features
    ]


def _each(
    what: str,
    features: Sequence[FeatureRef],
    work: Work,
    at_once: int,
    kept: Journal | None,
    progress: Progress | None,
    engine: Engine | None,
) -> Mapping[str, Any]:
    """Works on every feature, some at a time; returns results by key, kept as they come."""
    progress, kept = progress or silent(), kept or Journal()
    left = [place for place, feature in enumerate(features) if feature.key not in kept.done]
    parts = [left[start : start + at_once] for start in range(0, len(left), at_once)]
    with progress.task(what, len(features), "features") as advance:
        advance(len(features) - len(left))

        def done(key: str, value: Any) -> None:
            kept.add(key, value)
            advance(1)

        if engine is None or engine.config.kind == "local":
            for part in parts:
                work(part, done)
        else:

            def found(_: int, results: dict[str, Any]) -> None:
                for key, value in results.items():
                    done(key, value)

            def name(place: int) -> str:
                return f"features from {features[parts[place][0]].key} on"

            engine.each(partial(_collected, work), parts, found, name)
    return kept.done


def _collected(work: Work, part: Sequence[int]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    work(part, results.__setitem__)
    return results


def _scored(
    scorer: Scorer,
    features: Sequence[FeatureRef],
    split: Split,
    one: Callable[[int, Texts], Awaitable[Any]],
    clients: Sequence[Client],
    progress: Progress | None,
    part: Sequence[int],
    done: Done,
) -> None:
    """Works on features with their text of a split, on those of a part concurrently."""
    texts = scorer.texts([features[place] for place in part], split, progress)

    async def worked(place: int, read: Texts) -> None:
        done(features[place].key, await one(place, read))

    async def together() -> None:
        await asyncio.gather(*map(worked, part, texts))

    run_with(together(), list(clients))


async def _choose(
    scorer: Scorer, written: Sequence[Sequence[Sequence[Candidate]]], by: ChooseBy, place: int, texts: Texts
) -> list[list[float]]:
    return [
        list(await asyncio.gather(*(scorer.choice(one, texts, by) for one in candidates)))
        for candidates in written[place]
    ]


async def _score(
    scorer: Scorer,
    features: Sequence[FeatureRef],
    choices: Sequence[Sequence[Choice]],
    by: ChooseBy,
    nulls: int,
    seed: int,
    place: int,
    texts: Texts,
) -> list[dict[str, Any] | None]:
    feature = features[place]
    continued = scorer.continued(feature, texts)
    found: list[dict[str, Any] | None] = []
    for number, choice in enumerate(choices[place]):
        if choice.chosen is None:
            found.append(None)
            continue
        others = _nulls(choices, nulls, seed, place, number)
        rows = await scorer.scores(feature, choice.chosen, texts, others, continued)
        first = await scorer.choice(choice.candidates[0], texts, by)
        own = await scorer.choice(choice.chosen, texts, by)
        found.append(ChosenScores(tuple(rows), first, own).to_json())
    return found


def _nulls(
    choices: Sequence[Sequence[Choice]], nulls: int, seed: int, place: int, number: int
) -> list[Candidate]:
    """Draws chosen descriptions of other features by the same explainer."""
    chosen = [of[number].chosen for of in choices]
    there = [other for other, one in enumerate(chosen) if one is not None]
    drawn = (chosen[other] for other in others_drawn(there, place, nulls, [seed, place, number]))
    return [one for one in drawn if one is not None]
