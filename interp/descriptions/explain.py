"""Turns exemplars into patterns: prunes contexts, finds the tokens that matter and their replacements.

After Foote et al. 2023, "Neuron to Graph" (arXiv:2305.19911; github.com/albertsgarde/Neuron2Graph). It
differs in four ways: importance is measured with substitutes drawn from real text (not a mask token, which
is off the distribution), and only where the gradient says that a token may matter; replacements come from
the subject and the evidence (not from a second language model); every stage asks about all exemplars of all
features at once; and a feature has a number of window-passes for each stage.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from interp.descriptions.evidence import Evidence
from interp.descriptions.pattern import ExplainSettings, Pattern
from interp.descriptions.query import Ask, NoSlopes, Propose, Query, Slopes, propose_nothing
from interp.descriptions.substitute import Unigrams, augment, weigh
from interp.track.progress import Progress, silent


def peaks(evidence: Evidence, settings: ExplainSettings) -> Iterator[tuple[Int[np.ndarray, " token"], float]]:
    """Yields the strongest token of each exemplar, then different strong tokens of any window.

    Yields the window up to and including the peak, and the activation there. Only tokens that count and
    have a positive activation are peaks.
    """
    text = evidence.text
    spots: list[tuple[bool, float, int, int]] = []
    for number, window in enumerate(text):
        values = np.where(window.counts, window.values.astype(np.float64), 0.0)
        best = int(values.argmax()) if len(values) and number < len(evidence.exemplars) else -1
        spots += [(i != best, -float(values[i]), number, int(i)) for i in np.flatnonzero(values > 0)]
    spots.sort()
    enough = settings.keep * -spots[0][1] if spots else 0.0
    yielded, seen = 0, set[int]()
    for further, negative, number, place in spots:
        window = text[number]
        token = int(window.tokens[place])
        if further and (token in seen or -negative < enough):
            continue
        if yielded == settings.examples:
            return
        seen.add(token)
        yielded += 1
        yield window.tokens[: place + 1].astype(np.int64), -negative


def explain(
    ask: Ask,
    evidence: Sequence[Evidence],
    settings: ExplainSettings | None = None,
    propose: Propose = propose_nothing,
    slopes: Slopes | None = None,
    progress: Progress | None = None,
) -> list[list[Pattern]]:
    """Find the patterns of every feature: prune, weigh by substitution, augment.

    `ask` answers for feature number i of `evidence[i]`. The result has one list per feature, empty for a
    feature without a positive activation. The same input gives the same patterns.
    """
    settings = settings or ExplainSettings()
    progress, slopes = progress or silent(), slopes or NoSlopes()
    unigrams = Unigrams.of([window for one in evidence for window in one.text])
    examples = [
        (f, tokens, value) for f, one in enumerate(evidence) for tokens, value in peaks(one, settings)
    ]
    with progress.task("pruning contexts", total=len(examples), unit="exemplars") as advance:
        found: list[Pattern] = []
        for done, finished in _prune(ask, examples, settings):
            found += finished
            advance(done)
    patterns = _merge(found)
    with progress.task("weighing tokens", unit="replacements") as advance:
        weigh(ask, patterns, unigrams, settings, advance, slopes)
    with progress.task("trying other tokens", unit="replacements") as advance:
        augment(ask, patterns, propose, settings, advance, slopes)
    return [[p for p in patterns if p.feature == f] for f in range(len(evidence))]


def _prune(
    ask: Ask, examples: Sequence[tuple[int, np.ndarray, float]], settings: ExplainSettings
) -> Iterator[tuple[int, list[Pattern]]]:
    """Grow every context leftwards until it keeps the activation; a level of all exemplars in one ask.

    An exemplar gives one pattern where `keep` of the activation is reached and, if `full` takes more context
    than that, a second one there. One that never reaches `keep` gives its best, as does one for which a
    feature has no passes left: the stronger ones, which come first, are tried first. The same context of
    several counts once.
    """
    still = list(range(len(examples)))
    last = settings.context_levels[-1]
    best: dict[int, Pattern] = {}
    kept: set[int] = set()
    asked: dict[int, set[bytes]] = {}
    for level in settings.context_levels:
        found: list[Pattern] = []
        tried, left_out = [], []
        for i in still:
            feature, tokens, _ = examples[i]
            seen, key = asked.setdefault(feature, set()), tokens[-(level + 1) :].tobytes()
            if key in seen or len(seen) < settings.pruning:
                seen.add(key)
                tried.append(i)
            else:
                left_out.append(i)
        found += [best[i] for i in left_out if i in best and i not in kept]
        values = ask([Query(examples[i][0], examples[i][1][-(level + 1) :], 0) for i in tried])
        next_still = []
        for i, value in zip(tried, values.tolist(), strict=True):
            feature, tokens, true = examples[i]
            context = tokens[-(level + 1) :]
            before = tokens[-(last + 1) : len(tokens) - len(context)]
            pattern = Pattern(feature, context, before, true, float(value), exemplars=int(i not in kept))
            longest = level >= min(last, len(tokens) - 1)
            if i not in best or value > best[i].measured:
                best[i] = pattern
            if value >= settings.full * true:
                found.append(pattern)
            elif longest and i not in kept:
                found.append(best[i])
            elif not longest and (i not in kept or level < settings.full_context):
                next_still.append(i)
                if value >= settings.keep * true and i not in kept:
                    found.append(pattern)
                    kept.add(i)
        yield len(still) - len(next_still), found
        still = next_still
        if not still:
            return


def _merge(patterns: Sequence[Pattern]) -> list[Pattern]:
    """Exemplars of a feature with the same pruned tokens are one pattern, with their number and mean."""
    groups: dict[tuple[int, bytes], list[Pattern]] = {}
    for pattern in patterns:
        groups.setdefault((pattern.feature, pattern.tokens.tobytes()), []).append(pattern)
    merged = []
    for group in groups.values():
        first = group[0]
        true = float(np.mean([p.true for p in group]))
        exemplars = sum(p.exemplars for p in group)
        merged.append(
            Pattern(first.feature, first.tokens, first.before, true, first.measured, len(group), exemplars)
        )
    return sorted(merged, key=lambda p: (p.feature, -p.support, -p.true, p.tokens.tolist()))
