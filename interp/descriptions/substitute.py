"""Replaces tokens of pruned contexts, to find which matter and which others keep the activation."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from interp.descriptions.evidence import Window
from interp.descriptions.pattern import ExplainSettings, Pattern
from interp.descriptions.query import Ask, Propose, Query
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
    """Consecutive tokens of one pattern replaced, from `place` on."""

    pattern: Pattern
    place: int
    tokens: tuple[int, ...]

    @property
    def query(self) -> Query:
        tokens = self.pattern.tokens.copy()
        tokens[self.place : self.place + len(self.tokens)] = self.tokens
        return Query(self.pattern.feature, tokens)


def weigh(
    ask: Ask, patterns: Sequence[Pattern], unigrams: Unigrams, settings: ExplainSettings, advance: Advance
) -> None:
    """Set every pattern's `importance`: 1 - mean activation with the token replaced / activation.

    Neuron2Graph, section 3.2, with several substitutes instead of a mask token. Long contexts are
    replaced in blocks first; the tokens of a block that does not matter do not either. A token without any
    substitute (a corpus of one token) counts as important. Substitutes that keep the activation are
    remembered as `replacements`. Context left of the first important token is dropped where the activation
    stays without it.
    """
    blocks: list[_Trial] = []
    for pattern in patterns:
        pattern.importance = np.ones(len(pattern.tokens))
        pattern.replacements = [{} for _ in pattern.tokens]
        if pattern.measured > 0 and len(pattern.tokens) > settings.block + 1:
            rng = _rng(settings, pattern)
            for place in range(0, len(pattern.tokens) - 1, settings.block):
                length = min(settings.block, len(pattern.tokens) - 1 - place)
                drawn = [unigrams.draw(length, rng, without=-1) for _ in range(2)]
                blocks += [_Trial(pattern, place, tuple(tokens)) for tokens in drawn if len(tokens) == length]
    _lose(blocks, _values(ask, blocks, advance))
    trials: list[_Trial] = []
    for pattern in patterns:
        if pattern.measured <= 0:
            continue
        rng = _rng(settings, pattern)
        for place, token in enumerate(pattern.tokens.tolist()):
            if pattern.importance[place] >= settings.importance * 0.7:
                drawn_tokens = unigrams.draw(settings.substitutes, rng, without=token)
                trials += [_Trial(pattern, place, (substitute,)) for substitute in drawn_tokens]
    values = _values(ask, trials, advance)
    _lose(trials, values)
    _remember(trials, values, settings)
    _trim(ask, patterns, settings)


def augment(
    ask: Ask, patterns: Sequence[Pattern], propose: Propose, settings: ExplainSettings, advance: Advance
) -> None:
    """Try other tokens where a token matters; those that keep the activation become `replacements`.

    Candidates are the tokens in the same place of the feature's other patterns, then what `propose` offers
    (Neuron2Graph, section 3.3, with the subject and the evidence instead of a masked language model).
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
            most = settings.candidates if not back else settings.candidates // 2
            tried = {int(pattern.tokens[place]), *pattern.replacements[place]}
            others = _new(peers[pattern.feature, back], tried, most // 2)
            others += _new(proposed[len(pattern.before) + place].tolist(), tried, most - len(others))
            trials += [_Trial(pattern, place, (token,)) for token in others]
    _remember(trials, _values(ask, trials, advance), settings)


def _rng(settings: ExplainSettings, pattern: Pattern) -> np.random.Generator:
    """Seeded by the pattern itself, so that a description does not depend on what else is described."""
    return np.random.default_rng([settings.seed, zlib.crc32(pattern.tokens.tobytes())])


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
        trial.pattern.importance[trial.place : trial.place + len(trial.tokens)] = min(max(lost, 0.0), 1.0)


def _remember(trials: Sequence[_Trial], values: Sequence[float], settings: ExplainSettings) -> None:
    for trial, value in zip(trials, values, strict=True):
        if value >= settings.keep * trial.pattern.measured:
            trial.pattern.replacements[trial.place][trial.tokens[0]] = value


def _trim(ask: Ask, patterns: Sequence[Pattern], settings: ExplainSettings) -> None:
    trimmed = []
    for pattern in patterns:
        first = int(np.argmax(pattern.importance >= settings.importance))
        if first and pattern.measured > 0:
            trimmed.append((pattern, first))
    values = ask([Query(pattern.feature, pattern.tokens[first:]) for pattern, first in trimmed])
    for (pattern, first), value in zip(trimmed, values.tolist(), strict=True):
        if value >= settings.keep * pattern.measured:
            pattern.before = np.concatenate([pattern.before, pattern.tokens[:first]])
            pattern.tokens = pattern.tokens[first:]
            pattern.importance = pattern.importance[first:]
            pattern.replacements = pattern.replacements[first:]
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
