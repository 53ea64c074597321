"""The phrases of a description: tokens in quotation marks, lists, and where something stands."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from interp.descriptions.description import Part
from interp.descriptions.trie import ANY, IGNORE, Path

Show = Callable[[Sequence[int]], str]
"""The text of consecutive tokens."""

MOST_TOKENS = 6
MOST_CONTEXTS = 3

_ORDINALS = ("zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def told_apart(show: Show, tokens: Iterable[int]) -> Show:
    """Shows “x” and “␣x” where both are among `tokens`, and otherwise as `show` does."""
    texts = {token: show([token]) for token in tokens if token >= 0}
    alike = Counter(map(_visible, texts.values()))

    def shown(run: Sequence[int]) -> str:
        text = show(run)
        ambiguous = len(run) == 1 and run[0] in texts and alike[_visible(text)] > 1
        return f"␣{text[1:]}" if ambiguous and text.startswith(" ") else text

    return shown


def words(text: str) -> Part:
    """Plain words."""
    return Part("words", text)


def on(tokens: Sequence[int], show: Show, most: int = MOST_TOKENS) -> list[Part]:
    """Activating tokens: on “x”, “y” and 3 other tokens."""
    named = [token for token in tokens if token != IGNORE]
    shown = [_token(show([token])) for token in named[:most]]
    more = len(named) - len(shown)
    others = [words(_plural(more, "other token"))] if more else []
    anything = [words("any token")] if IGNORE in tokens else []
    return [words("on "), *listed([*shown, *others, *anything], "and")]


def after(contexts: Sequence[Path], show: Show, most: int = MOST_CONTEXTS) -> list[Part]:
    """Where the activating token stands: after “x” or “y”, two tokens after “x”, somewhere after “x … y”.

    Contexts run leftwards from the activating token, none is empty.
    """
    by_distance: dict[str, list[Part]] = {}
    for context in contexts[:most]:
        distance, named = _distance(context)
        by_distance.setdefault(distance, []).append(_token(_quote(named, show)))
    phrases: list[Part] = []
    for distance, quoted in by_distance.items():
        phrases += [words(" or "), words(distance)] if phrases else [words(distance)]
        phrases += listed(quoted, "or")
    more = len(contexts) - most
    return [*phrases, words(f" or in {_plural(more, 'other context')}")] if more > 0 else phrases


def whatever_follows(contexts: Sequence[Path], show: Show) -> list[Part]:
    """The activating token does not matter, only what stands before it."""
    phrases: list[Part] = []
    for context in contexts[:MOST_CONTEXTS]:
        gap, named = _gap(context)
        if gap is None:
            which, whatever = "any token somewhere after ", ""
        elif gap:
            which, whatever = f"the {_ordinal(gap + 1)} token after ", ", whatever it is"
        else:
            which, whatever = "any token after ", ""
        phrases += [words(" and on " if phrases else "on "), words(which), _token(_quote(named, show))]
        phrases += [words(whatever)] if whatever else []
    more = len(contexts) - MOST_CONTEXTS
    return [*phrases, words(f" and after {_plural(more, 'other context')}")] if more > 0 else phrases


def listed(items: Sequence[Part], last: str) -> list[Part]:
    """a, b and c."""
    parts: list[Part] = []
    for i, item in enumerate(items):
        if i:
            parts.append(words(f" {last} " if i == len(items) - 1 else ", "))
        parts.append(item)
    return parts


def joined(parts: Iterable[Part]) -> list[Part]:
    """Joins neighbouring words into one part."""
    together: list[Part] = []
    for part in parts:
        if together and part.kind == together[-1].kind == "words":
            together[-1] = words(together[-1].text + part.text)
        else:
            together.append(part)
    return together


def _gap(context: Path) -> tuple[int | None, Path]:
    """Returns how many unnamed tokens come first (None: any number), and the rest."""
    if context[0] == ANY:
        return None, context[1:]
    gap = 0
    while context[gap] == IGNORE:
        gap += 1
    return gap, context[gap:]


def _distance(context: Path) -> tuple[str, Path]:
    gap, named = _gap(context)
    if gap is None:
        return "somewhere after ", named
    return (f"{_number(gap + 1)} tokens after " if gap else "after "), named


def _quote(context: Path, show: Show) -> str:
    """Quotes a context in reading order; unnamed tokens become an ellipsis."""
    runs: list[str] = []
    run: list[int] = []
    for token in [*reversed(context), IGNORE]:
        if token >= 0:
            run.append(token)
        else:
            runs += [_visible(show(run))] if run else []
            run = []
    return " … ".join(runs)


def _visible(text: str) -> str:
    """Removes the space that a tokenizer puts before a text, and makes other white space visible."""
    bare = text.strip(" ") or "␣" * max(len(text), 1)
    return bare.replace("\n", "⏎").replace("\t", "⇥")


def _plural(n: int, thing: str) -> str:
    return f"{n} {thing}{'s' if n > 1 else ''}"


def _number(n: int) -> str:
    return _NUMBERS[n] if n < len(_NUMBERS) else str(n)


def _ordinal(n: int) -> str:
    return _ORDINALS[n] if n < len(_ORDINALS) else f"{n}th"


def _token(text: str) -> Part:
    return Part("tokens", _visible(text))
