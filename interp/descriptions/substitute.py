"""Replaces tokens of pruned contexts, to find which matter and which others keep the activation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from interp.descriptions.evidence import Window
from interp.descriptions.pattern import ExplainSettings, Pattern
from interp.descriptions.query import Ask, Propose, Query, Slopes
from interp.track.progress import Advance

TRIALS_PER_ASK = 8192


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
    """One token of a pattern replaced."""

    pattern: Pattern
    place: int
    token: int

    @property
    def query(self) -> Query:
        tokens = self.pattern.tokens.copy()
        tokens[self.place] = self.token
        return Query(self.pattern.feature, tokens, self.place)


@dataclass
class _Budget:
    """Window-passes left to each feature: what is after a replaced token is computed again, no more."""

    most: float
    spent: dict[int, float] = field(default_factory=dict)

    def take(self, feature: int, passes: float) -> bool:
        """Spends passes of a feature, if it has them left."""
        total = self.spent.get(feature, 0.0) + passes
        if total > self.most:
            return False
        self.spent[feature] = total
        return True

    def trials(self, pattern: Pattern, place: int, tokens: Iterable[int]) -> list[_Trial]:
        """Makes trials for as long as there are passes left."""
        cost = (len(pattern.tokens) - place) / (len(pattern.tokens) + 1)
        return [_Trial(pattern, place, token) for token in tokens if self.take(pattern.feature, cost)]


def weigh(
    ask: Ask,
    patterns: Sequence[Pattern],
    unigrams: Unigrams,
    settings: ExplainSettings,
    advance: Advance,
    slopes: Slopes,
) -> None:
    """Set every pattern's `importance`: 1 - mean activation with the token replaced / activation.

    Neuron2Graph, section 3.2, with several substitutes instead of a mask token. One gradient a pattern
    estimates how much random tokens change in every place; those are really tried, the same for all patterns,
    only where that is much, and in place of the activating token. (Much either way: on `world` a mean loss as
    the estimate missed tokens that matter, and cost 0.015 of the neurons' held-out score.) A token without
    any substitute (a corpus of one token) counts as important. Substitutes that keep the activation are
    remembered as `replacements`. Context left of the first important token is dropped where the activation
    stays without it.
    """
    budget = _Budget(settings.weighing)
    drawn = unigrams.draw(settings.estimated + 1, np.random.default_rng(settings.seed), without=-1)
    for pattern in patterns:
        pattern.importance = np.ones(len(pattern.tokens))
        pattern.replacements = [{} for _ in pattern.tokens]
    worth = [p for p in patterns if p.measured > 0]
    sloped = [p for p in worth if len(p.tokens) > settings.sloped and budget.take(p.feature, 2.0)]
    slopes.know(np.array(drawn, dtype=np.int64))
    for pattern, slope in zip(sloped, slopes([Query(p.feature, p.tokens) for p in sloped]), strict=True):
        pattern.slope = slope
    trials: list[_Trial] = []
    for pattern in worth:
        for place in _possible(pattern, drawn, settings):
            others = [token for token in drawn if token != pattern.tokens[place]]
            trials += budget.trials(pattern, place, others[: settings.substitutes])
    values = _values(ask, trials, advance)
    _lose(trials, values)
    _remember(trials, values, settings)
    _trim(ask, patterns, settings)


def _possible(pattern: Pattern, drawn: Sequence[int], settings: ExplainSettings) -> list[int]:
    """Places that may matter, the activating token first; the others are set to no importance."""
    last = len(pattern.tokens) - 1
    places = list(range(last, -1, -1))
    if pattern.slope is None:
        return places
    changes = np.array([pattern.slope.change(place, np.array(drawn)) for place in places])
    lost = np.sqrt((changes**2).mean(1)) / pattern.measured
    possible = [place for place in places if place == last or lost[last - place] >= settings.possible]
    pattern.importance[[place for place in places if place not in possible]] = 0.0
    return possible


def augment(
    ask: Ask,
    patterns: Sequence[Pattern],
    propose: Propose,
    settings: ExplainSettings,
    advance: Advance,
    slopes: Slopes,
) -> None:
    """Try other tokens where a token matters; those that keep the activation become `replacements`.

    Candidates are the tokens in the same place of the feature's other patterns, then what `propose` offers
    (Neuron2Graph, section 3.3, with the subject and the evidence instead of a masked language model); of
    each the ones first with which, by the pattern's gradient, the activation is highest.
    """
    places = [
        (pattern, int(place))
        for pattern in patterns
        if pattern.measured > 0
        for place in np.flatnonzero(pattern.importance >= settings.importance)[::-1]
    ]
    replaced, where = np.unique(
        np.array([p.tokens[i] for p, i in places], dtype=np.int64), return_inverse=True
    )
    proposed = propose(replaced)
    slopes.know(
        np.concatenate([proposed.ravel(), *(pattern.tokens for pattern in patterns)]).astype(np.int64)
    )
    peers: dict[tuple[int, int], list[int]] = {}
    for pattern in patterns:
        for back, token in enumerate(reversed(pattern.tokens.tolist())):
            peers.setdefault((pattern.feature, back), []).append(token)
    budget = _Budget(settings.trying)
    trials: list[_Trial] = []
    for (pattern, place), number in zip(places, where.tolist(), strict=True):
        back = len(pattern.tokens) - 1 - place
        most = settings.candidates if not back else settings.candidates // 2
        tried = {int(pattern.tokens[place]), *pattern.replacements[place]}
        others = _new(_steepest(pattern, place, peers[pattern.feature, back]), tried, most // 2)
        others += _new(_steepest(pattern, place, proposed[number].tolist()), tried, most - len(others))
        trials += budget.trials(pattern, place, others)
    _remember(trials, _values(ask, trials, advance), settings)


def _steepest(pattern: Pattern, place: int, tokens: list[int]) -> list[int]:
    if pattern.slope is None or not tokens:
        return tokens
    order = np.argsort(-pattern.slope.change(pattern.dropped + place, np.array(tokens)), kind="stable")
    return [tokens[number] for number in order]


def _values(ask: Ask, trials: Sequence[_Trial], advance: Advance) -> list[float]:
    advance(0, total=int(advance.done) + len(trials))
    values: list[float] = []
    for part in _parts(trials):
        values += ask([trial.query for trial in part]).tolist()
        advance(len(part))
    return values


def _parts(trials: Sequence[_Trial]) -> list[Sequence[_Trial]]:
    return [trials[start : start + TRIALS_PER_ASK] for start in range(0, len(trials), TRIALS_PER_ASK)]


def _lose(trials: Sequence[_Trial], values: Sequence[float]) -> None:
    """Turn the activations left into the importance of the tokens that were replaced."""
    left: dict[tuple[int, int], list[float]] = {}
    replaced: dict[tuple[int, int], _Trial] = {}
    for trial, value in zip(trials, values, strict=True):
        left.setdefault((id(trial.pattern), trial.place), []).append(max(value, 0.0))
        replaced[id(trial.pattern), trial.place] = trial
    for key, trial in replaced.items():
        lost = 1.0 - float(np.mean(left[key])) / trial.pattern.measured
        trial.pattern.importance[trial.place] = min(max(lost, 0.0), 1.0)


def _remember(trials: Sequence[_Trial], values: Sequence[float], settings: ExplainSettings) -> None:
    for trial, value in zip(trials, values, strict=True):
        if value >= settings.keep * trial.pattern.measured:
            trial.pattern.replacements[trial.place][trial.token] = value


def _trim(ask: Ask, patterns: Sequence[Pattern], settings: ExplainSettings) -> None:
    trimmed = []
    for pattern in patterns:
        first = int(np.argmax(pattern.importance >= settings.importance))
        if first and pattern.measured > 0:
            trimmed.append((pattern, first))
    values = ask([Query(pattern.feature, pattern.tokens[first:], 0) for pattern, first in trimmed])
    for (pattern, first), value in zip(trimmed, values.tolist(), strict=True):
        if value >= settings.keep * pattern.measured:
            pattern.before = np.concatenate([pattern.before, pattern.tokens[:first]])
            pattern.tokens = pattern.tokens[first:]
            pattern.importance = pattern.importance[first:]
            pattern.replacements = pattern.replacements[first:]
            pattern.dropped += first
            pattern.measured = value


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
