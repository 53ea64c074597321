"""Writes a pattern trie as the sentence a person would write, saying no more than the patterns show."""

from collections.abc import Sequence
from dataclasses import dataclass

from interp.descriptions.description import Description, Part
from interp.descriptions.trie import ANY, IGNORE, Path, PatternTrie
from interp.descriptions.wording import (
    MOST_CONTEXTS,
    Show,
    after,
    joined,
    on,
    told_apart,
    whatever_follows,
    words,
)

STRONG = 0.5
"""A pattern is worth words if it predicts at least this share of the strongest pattern's value."""
STRONGER = 1.2
"""A context is worth words beside its token alone if it predicts this many times its value."""
MOST_CLAUSES = 3
MOST_SUMMARY = 2
MOST_LISTED = 5
DIVERSE = 12
"""From this many activating tokens on, those without a common context are counted, not listed."""
SHARED = 0.2
"""A token that this share of the evidence has in common is worth a clause when there are many patterns."""


@dataclass(frozen=True)
class _Clause:
    """Some activating tokens (strongest first; IGNORE: any) in any of some contexts (empty: everywhere)."""

    tokens: tuple[int, ...]
    contexts: tuple[Path, ...]
    value: float
    support: int

    @property
    def bare(self) -> bool:
        """Whether the tokens alone are enough."""
        return self.contexts == ((),)


def pattern_sentence(trie: PatternTrie, show: Show, exemplars: int) -> Description:
    """Put a trie into words. The same trie always gives the same sentence."""
    parts = tuple(joined(_sentence(trie, told_apart(show, {path[0] for path in trie.patterns}))))
    text = "".join(part.text if part.kind == "words" else f"“{part.text}”" for part in parts)
    return Description(text, parts, trie, exemplars)


def _sentence(trie: PatternTrie, show: Show) -> list[Part]:
    if not len(trie):
        return [words("never fires on the text it was described from")]
    if trie.peak <= 0:
        return [words("follows no pattern that was found")]
    if trie.baseline >= 0.8 * trie.peak:
        return [words("is about equally active on every token")]
    strong = _worth_words(trie)
    clauses = _clauses(trie, strong)
    few = len(clauses) <= MOST_CLAUSES and all(len(c.contexts) <= MOST_CONTEXTS + 1 for c in clauses)
    if few and sum(len(c.tokens) for c in clauses) < DIVERSE:
        return [words("fires "), *_listing(clauses, show)]
    return [words("fires "), *_summary(trie, strong, show)]


def _worth_words(trie: PatternTrie) -> list[Path]:
    """The strong patterns, without those that a shorter one with the same token already says."""
    strong = [path for path, end in trie.patterns.items() if end.value >= STRONG * trie.peak]
    strong.sort(key=len)
    kept: list[Path] = []
    for path in strong:
        shorter = [p for p in kept if p == path[: len(p)]]
        # More context is said of a token that also fires alone, never of one that has a context already.
        if all(
            len(p) == 1 and trie.patterns[path].value > STRONGER * trie.patterns[p].value for p in shorter
        ):
            kept.append(path)
    return kept


def _clauses(trie: PatternTrie, paths: Sequence[Path]) -> list[_Clause]:
    """Group patterns: tokens that share a context, then contexts that share their tokens."""
    by_context: dict[Path, list[Path]] = {}
    for path in sorted(paths):
        by_context.setdefault(path[1:], []).append(path)
    by_tokens: dict[tuple[bool, tuple[int, ...]], list[Path]] = {}
    for context, members in by_context.items():
        members.sort(key=lambda p: (-trie.patterns[p].value, p))
        by_tokens.setdefault((not context, tuple(p[0] for p in members)), []).append(context)
    clauses = []
    for (_, tokens), contexts in by_tokens.items():
        ends = {c: [trie.patterns[t, *c] for t in tokens] for c in contexts}
        contexts.sort(key=lambda c: (-sum(e.support for e in ends[c]), -max(e.value for e in ends[c]), c))
        value = max(e.value for c in contexts for e in ends[c])
        support = sum(e.support for c in contexts for e in ends[c])
        clauses.append(_Clause(tokens, tuple(contexts), value, support))
    clauses.sort(key=lambda c: (-c.support, -c.value, c.tokens, c.contexts))
    # What holds without a context comes first: "on x, most strongly after y", not "on x after y; on x".
    for clause in clauses:
        if clause.bare and set(clause.tokens) >= set(clauses[0].tokens):
            return [clause, *(other for other in clauses if other is not clause)]
    return clauses


def _listing(clauses: Sequence[_Clause], show: Show) -> list[Part]:
    """Every clause in full, the first with where it is strongest."""
    base, rest = clauses[0], list(clauses[1:])
    parts = _clause(base, show)
    stronger = [c for c in rest if base.bare and set(c.tokens) <= set(base.tokens)]
    if stronger:
        best = max(stronger, key=lambda c: c.value)
        rest = [c for c in rest if c not in stronger]
        parts.append(words(", most strongly "))
        parts += [*on(best.tokens, show), words(" ")] if best.tokens != base.tokens else []
        parts += after(best.contexts, show)
    for clause in rest:
        parts += [words("; also "), *_clause(clause, show)]
    return parts


def _clause(clause: _Clause, show: Show) -> list[Part]:
    if clause.tokens == (IGNORE,):
        return whatever_follows(clause.contexts, show)
    tokens = on(clause.tokens, show)
    return tokens if clause.bare else [*tokens, words(" "), *after(clause.contexts, show)]


def _summary(trie: PatternTrie, paths: Sequence[Path], show: Show) -> list[Part]:
    """Many patterns: what most of them share, a clause each, and how many are left."""
    weight = {path: trie.patterns[path].support + 0.1 for path in paths}
    total = sum(weight.values())
    left = sorted(paths, key=lambda p: (-weight[p], -trie.patterns[p].value, p))
    parts: list[Part] = []
    for _ in range(MOST_SUMMARY):
        sharing: dict[tuple[bool, int], list[Path]] = {}
        for path in left:
            sharing.setdefault((False, path[0]), []).append(path)
            for token in sorted({t for t in path[1:] if t >= 0}):
                sharing.setdefault((True, token), []).append(path)
        sharing.pop((False, IGNORE), None)
        # For equal weight the activating token itself says more than a token of the context.
        best = max(sharing, key=lambda k: (sum(weight[p] for p in sharing[k]), not k[0], -k[1]), default=None)
        if best is None or sum(weight[p] for p in sharing[best]) < SHARED * total:
            break
        is_context, token = best
        found = sharing[best]
        parts += [words("; also ")] if parts else []
        parts += _after_token(token, found, show) if is_context else _on_token(token, found, show)
        left = [path for path in left if path not in found]
    rest = list(dict.fromkeys(path[0] for path in sorted(left, key=lambda p: (-trie.patterns[p].value, p))))
    if not parts:
        seen = f"on many different tokens ({len(rest)} seen), most strongly "
        return [words(seen), *on(rest[:3], show)]
    if len(rest) > MOST_LISTED:
        return [*parts, words(f"; also on {len(rest)} other tokens, such as "), *on(rest[:3], show)[1:]]
    return [*parts, words("; also "), *on(rest, show)] if rest else parts


def _on_token(token: int, paths: Sequence[Path], show: Show) -> list[Part]:
    contexts = [path[1:] for path in paths if len(path) > 1]
    if len(contexts) < len(paths):
        return on([token], show)
    if len(contexts) <= MOST_CONTEXTS:
        return [*on([token], show), words(" "), *after(contexts, show)]
    many = f" in many contexts ({len(contexts)} seen), for example "
    return [*on([token], show), words(many), *after(contexts[:2], show)]


def _after_token(token: int, paths: Sequence[Path], show: Show) -> list[Part]:
    """Different activating tokens that have a token of their context in common."""
    tokens = list(dict.fromkeys(path[0] for path in paths))
    contexts = {path[1:] for path in paths}
    adjacent = all(path[1] == token for path in paths)
    where = contexts.pop() if len(contexts) == 1 else (token,) if adjacent else (ANY, token)
    if tokens == [IGNORE]:
        return whatever_follows([where], show)
    if len(tokens) <= MOST_LISTED:
        return [*on(tokens, show), words(" "), *after([where], show)]
    many = [words(f"on many tokens ({len(tokens)} seen) "), *after([where], show)]
    return [*many, words(", for example "), *on([t for t in tokens if t != IGNORE][:3], show)[1:]]
