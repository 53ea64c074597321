"""From patterns to a trie whose values agree with what the feature does on the explain split."""

from collections.abc import Sequence

import numpy as np

from interp.describe.evidence import Evidence
from interp.describe.pattern import ExplainSettings, Pattern
from interp.describe.simulate import simulate
from interp.describe.trie import ANY, IGNORE, End, Path, PatternTrie, specificity


def build(patterns: Sequence[Pattern], evidence: Evidence, settings: ExplainSettings) -> PatternTrie:
    """The trie of one feature: its patterns and their replacements, merged, calibrated and thinned.

    A pattern predicts the mean activation of the explain-split tokens where it wins (with what was measured
    when it was tested as one more observation), so a pattern that also matches where the feature is silent
    predicts less. The baseline is the mean over tokens where nothing matches.
    """
    if not patterns:
        return PatternTrie({}, 0.0)
    trie = fit(PatternTrie(_measured(patterns, settings)), evidence)
    trie = fit(_thin(trie), evidence)
    return _observed(trie, evidence, settings)


def _measured(patterns: Sequence[Pattern], settings: ExplainSettings) -> dict[Path, End]:
    """Every path with its measured activation, on the scale of the full text."""
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


def _observed(trie: PatternTrie, evidence: Evidence, settings: ExplainSettings) -> PatternTrie:
    """Add what was only seen: tokens, then tokens after a token, that the patterns predict badly.

    Each was seen at least `settings.often` times on the explain split, with a mean residual (shrunk by one
    observation of none) of at least `settings.visible` of the peak. None was tested by substitution.
    """
    if trie.peak <= 0:
        return trie
    for length in (1, 2):
        residuals: dict[Path, list[float]] = {}
        for window in evidence.windows:
            residual = window.values.astype(np.float64) - simulate(trie, window.tokens)
            row = window.tokens.tolist()
            for i in np.flatnonzero(window.counts).tolist():
                if i + 1 >= length:
                    path = tuple(reversed(row[i + 1 - length : i + 1]))
                    residuals.setdefault(path, []).append(float(residual[i]))
        found: dict[Path, End] = {}
        for path, seen in residuals.items():
            shrunk = sum(seen) / (len(seen) + 1)
            often = len(seen) >= settings.often and path not in trie.patterns
            if often and abs(shrunk) >= settings.visible * trie.peak:
                alone = trie.patterns.get(path[:-1])
                found[path] = End((alone.value if alone else trie.baseline) + shrunk)
        trie = fit(PatternTrie({**found, **trie.patterns}, trie.baseline), evidence)
    return trie


def fit(trie: PatternTrie, evidence: Evidence) -> PatternTrie:
    """The same patterns with values and baseline calibrated on the explain split."""
    sums, counts = np.zeros(len(trie)), np.zeros(len(trie), dtype=np.int64)
    rest, n_rest = 0.0, 0
    for window in evidence.windows:
        winners = trie.winners(window.tokens)
        values = window.values.astype(np.float64)
        matched = window.counts & (winners >= 0)
        np.add.at(sums, winners[matched], values[matched])
        np.add.at(counts, winners[matched], 1)
        silent = window.counts & (winners < 0)
        rest, n_rest = rest + float(values[silent].sum()), n_rest + int(silent.sum())
    ends = {
        path: End((end.value + total) / (1 + n), end.support, int(n))
        for (path, end), total, n in zip(trie.patterns.items(), sums.tolist(), counts.tolist(), strict=True)
    }
    return PatternTrie(ends, rest / n_rest if n_rest else 0.0)


def _thin(trie: PatternTrie, tolerance: float = 0.25) -> PatternTrie:
    """Drop patterns that say nothing new: a more general one predicts the same.

    The same is: within `tolerance` of the peak.
    """
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
