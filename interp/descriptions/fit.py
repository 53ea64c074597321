"""Builds a trie from patterns, and calibrates its values on the explain split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.descriptions.evidence import Evidence, Window
from interp.descriptions.pattern import ExplainSettings, Pattern
from interp.descriptions.trie import ANY, IGNORE, End, Path, PatternTrie, specificity


@dataclass(frozen=True)
class _Text:
    """Windows in one array: `first` is where the window of each token begins."""

    tokens: Int[np.ndarray, " token"]
    values: Float[np.ndarray, " token"]
    counts: Bool[np.ndarray, " token"]
    first: Int[np.ndarray, " token"]

    @classmethod
    def of(cls, windows: Sequence[Window]) -> "_Text":
        lengths = np.array([len(window.tokens) for window in windows])
        return cls(
            np.concatenate([window.tokens for window in windows]).astype(np.int64),
            np.concatenate([window.values for window in windows]).astype(np.float64),
            np.concatenate([window.counts for window in windows]),
            np.repeat(np.cumsum(lengths) - lengths, lengths),
        )


def build_trie(patterns: Sequence[Pattern], evidence: Evidence, settings: ExplainSettings) -> PatternTrie:
    """Builds the trie of one feature from its patterns and replacements: merged, calibrated and thinned.

    A pattern predicts the mean activation of the explain-split tokens where it wins (with what was measured
    when it was tested as one more observation), so a pattern that also matches where the feature is silent
    predicts less. The baseline is the mean over tokens where nothing matches. What is regular on the explain
    split but in none of the patterns is added last.
    """
    if not patterns:
        return PatternTrie({}, 0.0)
    text = _Text.of(evidence.text)
    trie, _ = _fit(PatternTrie(_measured(patterns, settings)), text)
    trie, residual = _fit(_thin(trie), text)
    for length in (1, 2):
        trie, residual = _fit(_with_observed(trie, text, residual, length, settings), text)
    return trie


def _measured(patterns: Sequence[Pattern], settings: ExplainSettings) -> dict[Path, End]:
    """Returns every path with its measured activation, on the scale of the full text."""
    gathered: dict[Path, list[tuple[float, int]]] = {}
    for pattern in patterns:
        path = pattern.path(settings.importance)
        gathered.setdefault(path, []).append((pattern.true, pattern.support))
        for place, replacements in enumerate(pattern.replacements):
            if pattern.importance[place] < settings.importance:
                continue
            for token, value in replacements.items():
                replaced = pattern.path(settings.importance, place, token)
                scaled = pattern.true * min(value / pattern.measured, 1.0)
                gathered.setdefault(replaced, []).append((scaled, 0))
    return {
        path: End(float(np.mean([value for value, _ in seen])), sum(support for _, support in seen))
        for path, seen in gathered.items()
    }


def _fit(trie: PatternTrie, text: _Text) -> tuple[PatternTrie, Float[np.ndarray, " token"]]:
    """Calibrates values and baseline on a text; returns the trie and the residuals."""
    winners = trie.winners(text.tokens, text.first)
    matched = text.counts & (winners >= 0)
    sums = np.bincount(winners[matched], text.values[matched], len(trie))
    counts = np.bincount(winners[matched], minlength=len(trie))
    rest = text.values[text.counts & (winners < 0)]
    fitted = PatternTrie(
        {
            path: End((end.value + total) / (1 + n), end.support, n)
            for (path, end), total, n in zip(
                trie.patterns.items(), sums.tolist(), counts.tolist(), strict=True
            )
        },
        float(rest.mean()) if len(rest) else 0.0,
    )
    return fitted, text.values - np.append(fitted.values, fitted.baseline)[winners]


def _with_observed(
    trie: PatternTrie,
    text: _Text,
    residual: Float[np.ndarray, " token"],
    length: int,
    settings: ExplainSettings,
) -> PatternTrie:
    """Add what was only seen: runs of `length` tokens that the patterns predict badly.

    Each was seen at least `settings.often` times on the explain split, with a mean residual (shrunk by one
    observation of none) of at least `settings.visible` of the peak. None was tested by substitution.
    """
    if trie.peak <= 0:
        return trie
    ends = np.flatnonzero(text.counts & (np.arange(len(text.tokens)) - text.first >= length - 1))
    runs = np.stack([text.tokens[ends - back] for back in range(length)], axis=1)
    paths, which = np.unique(runs, axis=0, return_inverse=True)
    seen = np.bincount(which.ravel(), minlength=len(paths))
    shrunk = np.bincount(which.ravel(), residual[ends], len(paths)) / (seen + 1)
    found: dict[Path, End] = {}
    for number in np.flatnonzero(
        (seen >= settings.often) & (abs(shrunk) >= settings.visible * trie.peak)
    ).tolist():
        path = tuple(paths[number].tolist())
        if path not in trie.patterns:
            alone = trie.patterns.get(path[:-1])
            found[path] = End((alone.value if alone else trie.baseline) + float(shrunk[number]))
    return PatternTrie({**found, **trie.patterns}, trie.baseline)


def _thin(trie: PatternTrie, tolerance: float = 0.25) -> PatternTrie:
    """Drops patterns that add nothing: a more general one predicts the same to `tolerance` of the peak."""
    kept: dict[Path, End] = {}
    for path in sorted(trie.paths, key=specificity):
        end = trie.patterns[path]
        general = [p for p in kept if p != path and _covers(p, path)]
        near = [p for p in general if abs(kept[p].value - end.value) <= tolerance * trie.peak]
        if len(near) == len(general) and near:
            first = near[-1]
            kept[first] = End(kept[first].value, kept[first].support + end.support, kept[first].observed)
        else:
            kept[path] = end
    return PatternTrie(kept, trie.baseline)


def _covers(general: Path, special: Path) -> bool:
    """Whether the general pattern matches wherever the special one does."""
    return len(general) <= len(special) and all(
        g == s or (g == IGNORE and s != ANY) for g, s in zip(general, special, strict=False)
    )
