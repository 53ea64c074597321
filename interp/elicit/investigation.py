"""A search, and an estimate of how likely a behaviour is, in one call each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from interp.elicit.behaviour import Behaviour, Exchange
from interp.elicit.config.behaviour import BehaviourConfig
from interp.elicit.config.investigators import InvestigatorSource, Setting, SteeringSource
from interp.elicit.config.prompts import PromptSource, check_askable
from interp.elicit.directions import attributed_features, behaviour_vectors
from interp.elicit.findings import best_distinct, tries_table
from interp.elicit.first_look import first_look
from interp.elicit.prompts import PromptDistribution
from interp.elicit.propensity.estimate import Propensity, plain
from interp.elicit.proposal import Proposal
from interp.elicit.reduction import Reduced, reduced
from interp.elicit.search import Ending, History, Search
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Direction, Frame, Target
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.space import FeatureSpace
from interp.fields import taken
from interp.subject.subject import Subject
from interp.track.journal import Journal
from interp.track.progress import Progress
from interp.vectors.vector import Vector

Named = str | Mapping[str, Any]
ORDINARY = 32
"""Ordinary prompts that a judge is tried on."""
STEERED_BY = 8
"""Features, besides the vectors of all layers, that a steering search holds."""


@dataclass(frozen=True, repr=False)
class Investigation:
    """A search that has ended: `ended` says why, `history` has every try."""

    target: Target
    behaviour: Behaviour
    history: History
    ended: Ending | None

    def __repr__(self) -> str:
        shown, spent = len(self.history.shown), self.history.spent
        return (
            f"Investigation({self.behaviour.name}: {shown:,} of {len(self.history):,} tries show it, after "
            f"{spent.passes:,} passes and {spent.tokens:,} tokens; ended by {self.ended})"
        )

    def _repr_html_(self) -> str:
        """Shows the best tries as a table."""
        columns = ["prompt", "reply", "score", "shown", "how", "perplexity"]
        best = self.table().sort_values("score", ascending=False, kind="stable")[columns].head(20)
        return str(best.to_html(index=False, escape=True))

    @property
    def finds(self) -> list[str]:
        """The best prompts that show the behaviour, each once."""
        return [one.proposal.prompt for one in best_distinct(self.history, len(self.history))]

    def table(self) -> pd.DataFrame:
        """All tries (`interp.elicit.findings.tries_table`)."""
        return tries_table(self.target, self.history)

    def reduced(self, prompt: str) -> Reduced:
        """Takes the words out of a prompt that the behaviour does not need; counts to no budget."""
        target = Target(self.target.subject, self.target.frame, None, self.target.directions)
        return reduced(target, self.behaviour, Proposal(prompt), "")


def investigate(
    subject: Subject,
    judge: Named,
    prompts: Sequence[str] | Mapping[str, Any],
    how: Named = "templates",
    *,
    passes: int = 500,
    examples: Sequence[str] = (),
    words: str = "",
    frame: Mapping[str, Any] | None = None,
    spaces: Sequence[FeatureSpace] | None = None,
    round_size: int = 32,
    stop_after: int | None = None,
    seed: int = 0,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> Investigation:
    """Searches for prompts that bring a behaviour out.

    `judge`, `prompts` and `how` are what a config has under `behaviour.judge`, `prompts` and one of
    `investigators` (docs/elicit.md); a text as `judge` is a regular expression, a list as `prompts` is that
    list, a text as `how` is a kind. `examples` are replies that show the behaviour, `words` say what it is.
    `spaces` are the features that judges and guides may name and steering holds, the neurons by default.
    A file as `kept` keeps every round: the same call then goes on from there.

    Raises:
        UserError: something named is not there or does not fit, the judge never says yes or nearly always
            does, `kept` is another search, or the budget does not fit one round.
    """
    target, behaviour, asked, source = _opened(
        subject, judge, prompts, examples, words, frame, passes, spaces, seed
    )
    way = taken(InvestigatorSource, {"kind": how} if isinstance(how, str) else dict(how), "how")
    usual = asked.sample(ORDINARY, Random("directions"))

    @cache
    def vectors() -> list[Vector]:
        free = Target(subject, target.frame)
        return behaviour_vectors(free, behaviour, [one for one in usual if free.takes(one)])

    if isinstance(way, SteeringSource):
        target.directions = _directions(target, behaviour, usual, vectors(), _spaces(subject, spaces))
    setting = Setting(
        target, behaviour, asked, source, vectors, spaces=_spaces(subject, spaces),
        folder=None if kept is None else kept.with_suffix(""),
    )  # fmt: skip
    search = Search(
        target, behaviour, way.open(setting), seed=seed, round_size=round_size, stop_after=stop_after,
        journal=Journal(kept),
    )  # fmt: skip
    history = search.run(progress)
    if search.ended == "budget" and not len(history):
        raise UserError(
            f"{passes:,} passes do not fit a first round of this: {search.investigator.name}",
            "passes",
            "give more",
        )
    return Investigation(target, behaviour, history, search.ended)


def how_likely(
    subject: Subject,
    judge: Named,
    prompts: Sequence[str] | Mapping[str, Any],
    n: int = 1000,
    *,
    frame: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Propensity:
    """Estimates how likely a reply at temperature 1 to one of the prompts shows a behaviour, plainly.

    Arguments as of `investigate`; `interp.elicit.propensity.estimate.weighted` does so from a steered model.

    Raises:
        UserError: as `investigate`.
    """
    target, behaviour, asked, _ = _opened(subject, judge, prompts, (), "", frame, None, None, seed)
    return plain(target, behaviour, asked, n, seed=seed, progress=progress)


def _opened(
    subject: Subject,
    judge: Named,
    prompts: Sequence[str] | Mapping[str, Any],
    examples: Sequence[str],
    words: str,
    frame: Mapping[str, Any] | None,
    passes: int | None,
    spaces: Sequence[FeatureSpace] | None,
    seed: int,
) -> tuple[Target, Behaviour, PromptDistribution, Any]:
    """Opens what is named, and tries the judge on ordinary replies."""
    target = Target(subject, taken(Frame, dict(frame or {}), "frame"))
    listed = dict(prompts) if isinstance(prompts, Mapping) else {"kind": "listed", "prompts": tuple(prompts)}
    source = taken(PromptSource, listed, "prompts")
    source.check(subject.info)
    asked: PromptDistribution = source.open()
    named = {"kind": "regex", "pattern": judge} if isinstance(judge, str) else dict(judge)
    config = taken(BehaviourConfig, {"judge": named, "examples": tuple(examples), "words": words}, "judge")
    config.check(subject.info, {})
    drawn = asked.sample(2 * ORDINARY, Random(f"ordinary {seed}"))
    check_askable(target, asked, drawn)
    usual = [one for one in dict.fromkeys(drawn) if target.takes(one)][:ORDINARY]

    def ordinary() -> Sequence[Exchange]:
        return target.ask([Proposal(prompt) for prompt in usual])

    behaviour = config.open(target, {}, _spaces(subject, spaces), ordinary)
    first_look(target, behaviour, usual)
    target.meter = Meter(Budget(passes=passes))
    return target, config.open(target, {}, _spaces(subject, spaces), ordinary), asked, source


def _directions(
    target: Target,
    behaviour: Behaviour,
    prompts: Sequence[str],
    vectors: Sequence[Vector],
    spaces: Sequence[FeatureSpace],
) -> dict[str, Direction]:
    """The behaviour's vectors, and the features that add most to its examples."""
    free = Target(target.subject, target.frame)
    asked = [one for one in prompts if free.takes(one)]
    directions: dict[str, Direction] = {f"vector after layer {one.site.layer}": one for one in vectors}
    for one in attributed_features(free, behaviour, asked, spaces, STEERED_BY):
        directions[one.feature.key] = one
    return directions


def _spaces(subject: Subject, spaces: Sequence[FeatureSpace] | None) -> Sequence[FeatureSpace]:
    return [MlpNeurons(subject, layer) for layer in range(subject.n_layers)] if spaces is None else spaces
