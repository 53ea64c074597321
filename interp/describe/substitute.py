"""Replace tokens of pruned contexts: which of them matter, and what else would do in their place."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from interp.describe.evidence import Window
from interp.describe.pattern import ExplainSettings, Pattern
from interp.describe.query import Ask, Propose, Query


@dataclass(frozen=True)
class Unigrams:
    """How often each token occurs, to draw substitutes from."""

    ids: Int[np.ndarray, " token"]
    share: Float[np.ndarray, " token"]

    @classmethod
    def of(cls, windows: Sequence[Window]) -> "Unigrams":
        """Count the tokens that count in some windows (every token if none does)."""
        tokens = np.concatenate([w.tokens[w.counts] for w in windows] or [np.zeros(0, dtype=np.int64)])
        if not len(tokens):
            tokens = np.concatenate([w.tokens for w in windows] or [np.zeros(1, dtype=np.int64)])
        ids, counts = np.unique(tokens, return_counts=True)
        return cls(ids.astype(np.int64), counts / counts.sum())

    def draw(self, n: int, rng: np.random.Generator, without: int) -> list[int]:
        """Up to `n` different tokens in drawn order, never `without`."""
        share = np.where(self.ids == without, 0.0, self.share)
        possible = int((share > 0).sum())
        if not possible:
            return []
        drawn = rng.choice(self.ids, size=min(n, possible), replace=False, p=share / share.sum())
        return [int(token) for token in drawn]


@dataclass(frozen=True)
class _Trial:
    """One token of one pattern replaced."""

    pattern: Pattern
    place: int
    token: int

    @property
    def query(self) -> Query:
        tokens = self.pattern.tokens.copy()
        tokens[self.place] = self.token
        return Query(self.pattern.feature, tokens)


def weigh(ask: Ask, patterns: Sequence[Pattern], unigrams: Unigrams, settings: ExplainSettings) -> None:
    """Set every pattern's `importance`: 1 - mean activation with the token replaced / activation.

    Neuron2Graph, section 3.2, with several substitutes in the place of a mask token. A token without any
    substitute (a corpus of one token) counts as important. Substitutes that keep the activation are
    remembered as `replacements`.
    """
    trials: list[_Trial] = []
    for pattern in patterns:
        pattern.importance = np.ones(len(pattern.tokens))
        pattern.replacements = [{} for _ in pattern.tokens]
        if pattern.measured <= 0:
            continue
        # Seeded by the pattern itself: a feature's description does not depend on its company.
        rng = np.random.default_rng([settings.seed, zlib.crc32(pattern.tokens.tobytes())])
        for place, token in enumerate(pattern.tokens.tolist()):
            drawn = unigrams.draw(settings.substitutes, rng, without=token)
            trials += [_Trial(pattern, place, substitute) for substitute in drawn]
    kept: dict[tuple[int, int], list[float]] = {}
    for trial, value in _answers(ask, trials, settings):
        kept.setdefault((id(trial.pattern), trial.place), []).append(max(value, 0.0))
    for pattern in patterns:
        for place in range(len(pattern.tokens)):
            values = kept.get((id(pattern), place))
            if values:
                pattern.importance[place] = min(
                    max(1.0 - float(np.mean(values)) / pattern.measured, 0.0), 1.0
                )


def augment(ask: Ask, patterns: Sequence[Pattern], propose: Propose, settings: ExplainSettings) -> None:
    """Try other tokens where a token matters; those that keep the activation become `replacements`.

    Candidates are the tokens in the same place of the feature's other patterns, then what `propose` offers
    (Neuron2Graph, section 3.3, with the subject and the evidence in the place of a masked language model).
    """
    worth = [p for p in patterns if p.measured > 0 and (p.importance >= settings.importance).any()]
    proposals = propose([np.concatenate([p.before, p.tokens]) for p in worth])
    peers: dict[tuple[int, int], list[int]] = {}
    for pattern in patterns:
        for back, token in enumerate(reversed(pattern.tokens.tolist())):
            peers.setdefault((pattern.feature, back), []).append(token)
    trials: list[_Trial] = []
    for pattern, proposed in zip(worth, proposals, strict=True):
        for place in np.flatnonzero(pattern.importance >= settings.importance).tolist():
            back = len(pattern.tokens) - 1 - place
            tried = {int(pattern.tokens[place]), *pattern.replacements[place]}
            others = _new(peers[pattern.feature, back], tried, settings.candidates // 2)
            others += _new(
                proposed[len(pattern.before) + place].tolist(), tried, settings.candidates - len(others)
            )
            trials += [_Trial(pattern, place, token) for token in others]
    for _ in _answers(ask, trials, settings):
        pass


def _answers(ask: Ask, trials: Sequence[_Trial], settings: ExplainSettings) -> list[tuple[_Trial, float]]:
    answers = list(zip(trials, ask([trial.query for trial in trials]).tolist(), strict=True))
    for trial, value in answers:
        if value >= settings.keep * trial.pattern.measured:
            trial.pattern.replacements[trial.place][trial.token] = value
    return answers


def _new(tokens: Iterable[int], tried: set[int], most: int) -> list[int]:
    """The first `most` tokens that were not tried; adds them to `tried`."""
    fresh: list[int] = []
    for token in tokens:
        if len(fresh) >= most:
            break
        if token not in tried:
            tried.add(token)
            fresh.append(token)
    return fresh
