"""Write a pattern trie as the sentence a person would write, saying no more than the patterns show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from interp.describe.description import Description, Part
from interp.describe.trie import IGNORE, Path, PatternTrie

Show = Callable[[Sequence[int]], str]
"""The text of consecutive tokens."""

STRONG = 0.5
"""A pattern is worth words if it predicts at least this share of the strongest pattern's value."""
MOST_TOKENS = 6
MOST_CONTEXTS = 3
MOST_CLAUSES = 3
DIVERSE = 12
"""From this many different activating tokens on, without a shared context, they are no longer listed."""

_ORDINALS = (
    "",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
)
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class _Clause:
    """Some activating tokens (strongest first; IGNORE: any) in any of some contexts (empty: everywhere)."""

    tokens: tuple[int, ...]
    contexts: tuple[Path, ...]
    value: float
    support: int


def describe(trie: PatternTrie, show: Show, exemplars: int) -> Description:
    """Put a trie into words. The same trie always gives the same sentence."""
    parts = tuple(_joined(_sentence(trie, show)))
    text = "".join(part.text if part.kind == "words" else f"“{part.text}”" for part in parts)
    return Description(text, parts, trie, exemplars)


def _sentence(trie: PatternTrie, show: Show) -> list[Part]:
    if not len(trie):
        return [_words("never fires on the text it was described from")]
    if trie.peak <= 0:
        return [_words("follows no pattern that was found")]
    if trie.baseline >= 0.8 * trie.peak:
        return [_words("is about equally active on every token")]
    strong = {path: end for path, end in trie.patterns.items() if end.value >= STRONG * trie.peak}
    clauses = _clauses(trie, list(strong))
    activators = {path[0] for path in strong}
    widest = max(len(clause.tokens) for clause in clauses)
    if (len(activators) >= DIVERSE and widest < len(activators) / 2) or (
        widest >= 2 * DIVERSE and _bare(clauses[0])
    ):
        return _diverse(trie, list(strong), show)
    base, special = clauses[0], clauses[1:]
    parts = [_words("fires "), *_clause(base, show)]
    if _bare(base):
        stronger = [c for c in special if set(c.tokens) <= set(base.tokens) and c.value > 1.2 * base.value]
        if stronger:
            best = max(stronger, key=lambda c: c.value)
            parts.append(_words(", most strongly "))
            if best.tokens != base.tokens:
                parts += [*_on(best.tokens, show), _words(" ")]
            parts += _contexts(best.contexts, show)
            special = [c for c in special if c not in stronger]
    for clause in special[: MOST_CLAUSES - 1]:
        parts += [_words("; also "), *_clause(clause, show)]
    rest = sum(len(c.tokens) * len(c.contexts) for c in special[MOST_CLAUSES - 1 :])
    if rest:
        parts.append(_words(f"; and in {rest} rarer pattern{'s' if rest > 1 else ''}"))
    return parts


def _clauses(trie: PatternTrie, paths: Sequence[Path]) -> list[_Clause]:
    """Group patterns: tokens that share a context, then contexts that share their tokens."""
    by_context: dict[Path, list[Path]] = {}
    for path in paths:
        by_context.setdefault(path[1:], []).append(path)
    by_tokens: dict[tuple[int, ...], list[Path]] = {}
    lonely: dict[int, list[Path]] = {}
    for context, members in by_context.items():
        members.sort(key=lambda p: (-trie.patterns[p].value, p))
        if len(members) == 1 and context:
            lonely.setdefault(members[0][0], []).append(context)
        else:
            by_tokens.setdefault(tuple(p[0] for p in members), []).append(context)
    for token, contexts in lonely.items():
        by_tokens.setdefault((token,), []).extend(contexts)
    clauses = []
    for tokens, contexts in by_tokens.items():
        for group in ([c for c in contexts if not c], [c for c in contexts if c]):
            if group:
                ends = {c: [trie.patterns[t, *c] for t in tokens] for c in group}
                group.sort(
                    key=lambda c: (-sum(e.support for e in ends[c]), -max(e.value for e in ends[c]), c)
                )
                value = max(e.value for c in group for e in ends[c])
                support = sum(e.support for c in group for e in ends[c])
                clauses.append(_Clause(tokens, tuple(group), value, support))
    clauses.sort(key=lambda c: (-c.support, -c.value, c.tokens, c.contexts))
    # What also holds without its context is said first: "on x, most strongly after y", not "on x after y; on x".
    for clause in clauses:
        if _bare(clause) and set(clause.tokens) >= set(clauses[0].tokens):
            return [clause, *(other for other in clauses if other is not clause)]
    return clauses


def _bare(clause: _Clause) -> bool:
    return clause.contexts == ((),)


def _clause(clause: _Clause, show: Show) -> list[Part]:
    if clause.tokens == (IGNORE,):
        return _anywhere(clause.contexts, show)
    on = _on(clause.tokens, show)
    return on if _bare(clause) else [*on, _words(" "), *_contexts(clause.contexts, show)]


def _on(tokens: Sequence[int], show: Show) -> list[Part]:
    named = [t for t in tokens if t != IGNORE]
    shown = [_token(show([t])) for t in named[:MOST_TOKENS]]
    more = len(named) - len(shown)
    any_other = [_words("any token")] if IGNORE in tokens else []
    others = [_words(f"{more} other token{'s' if more > 1 else ''}")] if more else []
    return [_words("on "), *_listed([*shown, *others, *any_other], "and")]


def _contexts(contexts: Sequence[Path], show: Show) -> list[Part]:
    """ "after “x”", "two tokens after “x” or “y”"; contexts at different distances are told apart."""
    by_gap: dict[int, list[Path]] = {}
    for context in contexts[:MOST_CONTEXTS]:
        by_gap.setdefault(_gap(context), []).append(context)
    phrases: list[Part] = []
    for gap, group in by_gap.items():
        if phrases:
            phrases.append(_words(" or "))
        distance = "" if not gap else f"{_number(gap + 1)} tokens "
        quoted = [_token(_quote(context[gap:], show)) for context in group]
        phrases += [_words(f"{distance}after "), *_listed(quoted, "or")]
    more = len(contexts) - MOST_CONTEXTS
    if more > 0:
        phrases.append(_words(f" or in {more} other context{'s' if more > 1 else ''}"))
    return phrases


def _anywhere(contexts: Sequence[Path], show: Show) -> list[Part]:
    """The activating token does not matter, only what stands before it."""
    phrases: list[Part] = []
    for context in contexts[:MOST_CONTEXTS]:
        gap = _gap(context)
        which = "any token" if not gap else f"the {_ordinal(gap + 1)} token"
        lead = "on " if not phrases else " and on "
        whatever = ", whatever it is" if gap else ""
        phrases += [_words(f"{lead}{which} after "), _token(_quote(context[gap:], show)), _words(whatever)]
    more = len(contexts) - MOST_CONTEXTS
    if more > 0:
        phrases.append(_words(f" and after {more} other context{'s' if more > 1 else ''}"))
    return [part for part in phrases if part.text]


def _diverse(trie: PatternTrie, paths: Sequence[Path], show: Show) -> list[Part]:
    best: dict[int, float] = {}
    for path in paths:
        best[path[0]] = max(best.get(path[0], 0.0), trie.patterns[path].value)
    best.pop(IGNORE, None)
    top = sorted(best, key=lambda token: (-best[token], token))[:3]
    parts = [_words(f"fires on many different tokens ({len(best)} seen), most strongly ")]
    parts += _on(top, show)
    shared = _shared(paths)
    return [*parts, _words(", mostly "), *_contexts([shared], show)] if shared else parts


def _shared(paths: Sequence[Path]) -> Path:
    """The context that more than half of the patterns have, if any."""
    counts: dict[Path, int] = {}
    for path in paths:
        if len(path) > 1:
            counts[path[1:]] = counts.get(path[1:], 0) + 1
    best = max(counts, key=lambda c: (counts[c], c), default=())
    return best if best and counts[best] > len(paths) / 2 else ()


def _gap(context: Path) -> int:
    gap = 0
    while context[gap] == IGNORE:
        gap += 1
    return gap


def _quote(context: Path, show: Show) -> str:
    """A context in reading order; each token that may be anything is an ellipsis."""
    runs: list[str] = []
    run: list[int] = []
    for token in reversed(context):
        if token == IGNORE:
            runs += [_visible(show(run))] if run else []
            runs, run = [*runs, "…"], []
        else:
            run.append(token)
    return " ".join([*runs, _visible(show(run))])


def _visible(text: str) -> str:
    """Text without the space that a tokenizer puts in front; white space alone becomes visible."""
    bare = text.strip(" ")
    if not bare:
        return "␣" * max(len(text), 1)
    return bare.replace("\n", "⏎").replace("\t", "⇥")


def _listed(items: Sequence[Part], last: str) -> list[Part]:
    """a, b and c."""
    listed: list[Part] = []
    for i, item in enumerate(items):
        if i:
            listed.append(_words(f" {last} " if i == len(items) - 1 else ", "))
        listed.append(item)
    return listed


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbouring words as one part."""
    joined: list[Part] = []
    for part in parts:
        if joined and part.kind == joined[-1].kind == "words":
            joined[-1] = _words(joined[-1].text + part.text)
        else:
            joined.append(part)
    return joined


def _number(n: int) -> str:
    return _NUMBERS[n] if n < len(_NUMBERS) else str(n)


def _ordinal(n: int) -> str:
    return _ORDINALS[n] if n < len(_ORDINALS) else f"{n}th"


def _words(text: str) -> Part:
    return Part("words", text)


def _token(text: str) -> Part:
    return Part("tokens", _visible(text))
