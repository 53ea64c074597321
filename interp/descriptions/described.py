"""The main job from Python: describe what was mined, and score the descriptions, without a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from interp.descriptions.choice import Choice, ChosenScores, result_table
from interp.descriptions.pipeline import ChooseBy, choose_descriptions, explain_features, score_choices
from interp.descriptions.rows import put_described
from interp.descriptions.sample import sample_active
from interp.descriptions.scoring import Scorer
from interp.descriptions.sources import (
    AnyJudgeSource,
    ExplainerSource,
    SimulatorSource,
    TextsConfig,
    check_sources,
    open_clients,
)
from interp.engine.engine import Engine
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.fields import problems_of, told
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.mining.mined import Mined
from interp.render.digits import interval, measured
from interp.statistics.estimate import Estimate
from interp.store.store import Store
from interp.track.progress import Progress

Named = str | Mapping[str, Any]
"""A kind, or a mapping with the kind and its options, as in a config."""


@dataclass(frozen=True, repr=False)
class Described:
    """Features with the descriptions that explainers wrote of them: `choices` [feature][explainer].

    `scores`, in the same order, are set by `interp.score`, which scores the chosen ones on the report
    split, each with its interval and beside its null.
    """

    mined: Mined
    features: Sequence[FeatureRef]
    explainers: Sequence[str]
    choices: Sequence[Sequence[Choice]]
    scorer: Scorer
    choose_by: ChooseBy = "simulation"
    scores: Sequence[Sequence[ChosenScores | None]] | None = None
    seed: int = 0
    clients: Sequence[Client] = field(default=())

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        done = "described" if self.scores is None else "described and scored"
        return f"Described({len(self)} features {done} by {', '.join(self.explainers)})"

    def _repr_html_(self) -> str:
        """Shows each feature with its chosen description, simulation score, interval and null."""
        rows = []
        for feature, choices, scores in zip(self.features, self.choices, self._scores(), strict=True):
            for name, choice, scored in zip(self.explainers, choices, scores, strict=True):
                rated = scored.scores if scored else ()
                main = next((one for one in rated if one.kind == "simulation"), None)
                rows.append(
                    {
                        "feature": feature.key,
                        "explainer": name,
                        "description": choice.chosen.text if choice.chosen else "",
                        "simulation": _shown(main.value, main.low, main.high) if main else "",
                        "null": _shown(main.null_mean, main.null_low, main.null_high) if main else "",
                    }
                )
        return str(pd.DataFrame(rows).to_html(escape=True, index=False))

    def table(self) -> pd.DataFrame:
        """Tabulates the chosen description, its scores and their nulls, a row per feature and explainer."""
        spaces = {feature.space.name: feature.space.name for feature in self.features}
        return result_table(self.features, self.choices, self._scores(), spaces, self.explainers)

    def store(self, where: str | Path = ":memory:") -> Store:
        """Keeps everything in a store: a SQLite file, a PostgreSQL URL, or memory.

        Raises:
            UserError: as `Store`.
        """
        store = Store(where)
        put_described(store, self.mined, self.features, self.choices, self._scores(), seed=self.seed)
        return store

    def _scores(self) -> Sequence[Sequence[ChosenScores | None]]:
        return [[None] * len(of) for of in self.choices] if self.scores is None else self.scores


def describe(
    mined: Mined,
    explainers: Sequence[Named] = ("patterns",),
    features: int | Sequence[str | FeatureRef] | None = 64,
    *,
    samples: int = 1,
    simulator: Named = "known",
    judges: Sequence[Named] = ("simulated",),
    choose_by: ChooseBy = "simulation",
    endpoints: Mapping[str, Endpoint | Mapping[str, Any]] | None = None,
    texts: TextsConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> Described:
    """Describes features from the explain split, and chooses among several descriptions on the select split.

    Args:
        mined: what `interp.mine` found.
        explainers: kinds, such as "patterns", or mappings as in a config: {"kind": "prompted", "endpoint":
            "main"}; each describes every feature.
        features: how many of each space, drawn from those that are ever active; None for all of these; or
            which, as keys ("mlp.3/17+") or references.
        samples: descriptions that each explainer writes of a feature.
        simulator: what predicts activations from a description; "known" reads pattern tries only.
        judges: what rates texts for detection and fuzzing.
        choose_by: the score that chooses.
        endpoints: servers of language models, by name.
        texts: on how much text descriptions are chosen and scored.
        seed: of what is drawn.
        progress: where to show how far it is.
        engine: its workers describe the features; by default this process does.

    Raises:
        UserError: a kind, an endpoint or a feature that there is not, or no feature is ever active.
    """
    servers = {name: _checked(Endpoint, one, "endpoints") for name, one in (endpoints or {}).items()}
    sources = [_source(ExplainerSource, one, "explainers") for one in explainers]
    simulated = _source(SimulatorSource, simulator, "simulator")
    judged = [_source(AnyJudgeSource, one, "judges") for one in judges]
    check_sources(servers, *sources, simulated, *judged)
    clients = open_clients(servers)
    opened = simulated.open(mined.corpus, clients)
    scorer = Scorer(
        mined, [opened], [one.open(opened, clients) for one in judged], texts or TextsConfig(), seed
    )
    chosen = _features(mined, features, seed)
    written = [
        [
            explained.candidates
            for explained in explain_features(
                mined, chosen, source.open(mined.subject, clients),
                samples=samples, seed=seed, progress=progress, engine=engine,
            )
        ]
        for source in sources
    ]  # fmt: skip
    candidates = list(zip(*written, strict=True))
    choices = choose_descriptions(
        scorer, chosen, candidates, choose_by,
        clients=list(clients.values()), progress=progress, engine=engine,
    )  # fmt: skip
    kinds = [source.kind for source in sources]
    return Described(
        mined, chosen, kinds, choices, scorer, choose_by, seed=seed, clients=list(clients.values())
    )


def score(
    described: Described, *, nulls: int = 8, progress: Progress | None = None, engine: Engine | None = None
) -> Described:
    """Scores every chosen description on the report split, which it was neither made from nor chosen on.

    Simulation, detection, fuzzing, and what else `describe` was asked for, each with a 95% interval and
    beside its null: up to `nulls` descriptions of other features, on the same text.
    """
    scores = score_choices(
        described.scorer, described.features, described.choices, described.choose_by,
        nulls=nulls, seed=described.seed, clients=described.clients, progress=progress, engine=engine,
    )  # fmt: skip
    return replace(described, scores=scores)


def _features(mined: Mined, features: int | Sequence[str | FeatureRef] | None, seed: int) -> list[FeatureRef]:
    spaces = list(mined.spaces.values())
    if features is None or isinstance(features, int):
        explain = {name: found.exemplars["explain"] for name, found in mined.items()}
        return [
            feature
            for salt, space in enumerate(spaces)
            for feature in sample_active([space], explain, features, [seed, salt])
        ]
    return [one if isinstance(one, FeatureRef) else FeatureRef.parse(one, spaces) for one in features]


def _shown(*ends: float | None) -> str:
    """A score with its ends, in a few digits."""
    estimate = Estimate(*(float("nan") if end is None else end for end in ends))
    return f"{measured(estimate)} ({interval(estimate)})" if estimate.ends else measured(estimate)


def _source(kind: Any, given: Named, place: str) -> Any:
    """The source that a kind or a mapping means, of one of the unions of sources."""
    return _checked(kind, {"kind": given} if isinstance(given, str) else given, place)


def _checked(kind: Any, given: Any, place: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        said = "; ".join(told(problem) for problem in problems_of(error))
        raise UserError(said, place, "write it as in a config of the experiment `describe`") from None
