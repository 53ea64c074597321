"""Marks the tokens on which a feature fires by `{{ }}` around runs, distinct from the text's own braces."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Bool

from interp.descriptions.excerpt import Excerpt

DISTINCT = 3
"""Number of different marked strings at which the threshold stops falling."""
SHARES = (0.9, 0.75, 0.5, 0.3, 0.15)
"""Shares of the largest peak tried as thresholds after the known quantiles."""
_OPEN, _CLOSE = "{{", "}}"


def threshold(exemplars: Sequence[Excerpt], levels: Sequence[float] = ()) -> float:
    """Chooses the activation from which on tokens are marked.

    The levels are tried from the rarest inwards, then shares of the largest peak, until `DISTINCT` different
    strings are marked in all exemplars together; the last one tried if that never happens. Always positive.
    """
    largest = max((excerpt.peak for excerpt in exemplars), default=0.0)
    tried = [level for level in levels if 0 < level <= largest]
    tried += [share * largest for share in SHARES if not tried or share * largest < tried[-1]]
    for level in tried:
        strings = {
            excerpt.pieces[place].strip()
            for excerpt in exemplars
            for place in np.flatnonzero(active(excerpt, level))
        }
        if len(strings - {""}) >= DISTINCT:
            return level
    return tried[-1] if tried and largest > 0 else float("inf")


def active(excerpt: Excerpt, level: float) -> Bool[np.ndarray, " token"]:
    """Returns the counting tokens whose activation is positive and at least `level`."""
    found: Bool[np.ndarray, " token"] = excerpt.counts & (excerpt.values > 0) & (excerpt.values >= level)
    return found


def mark(excerpt: Excerpt, marked: Bool[np.ndarray, " token"]) -> str:
    """Puts `{{ }}` around each run of marked tokens, white space outside.

    Where two equal braces touch in the text, or touch a mark, a backslash is put between them; `unmark`
    removes it.
    """
    parts: list[Sequence[str]] = []  # texts, and marks as tuples of one
    for text, on in _runs(excerpt.pieces, marked):
        bare = text.strip()
        if not on or not bare:
            parts.append(text)
            continue
        before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        parts += [before, (_OPEN,), bare, (_CLOSE,), after]
    units = [unit for part in parts for unit in part]
    return _joined(units) if "{" in excerpt.text or "}" in excerpt.text else "".join(units)


def unmark(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Returns the plain text of a marked one, and the marked spans in it (offsets of characters)."""
    plain: list[str] = []
    spans: list[tuple[int, int]] = []
    begun, at = -1, 0
    while at < len(text):
        mark_here = text[at : at + 2] in (_OPEN, _CLOSE)
        brace = text[at]
        at += 2 if mark_here else 1
        if mark_here and brace == "{":
            begun = len(plain)
        elif mark_here:
            spans.append((begun, len(plain)))
        else:
            plain.append(brace)
        slashes = len(text) - at - len(text[at:].lstrip("\\")) if brace in "{}" else 0
        if slashes and text[at + slashes : at + slashes + 1] == brace:
            plain += "\\" * (slashes - 1)
            at += slashes
    return "".join(plain), spans


def _joined(units: Sequence[str]) -> str:
    """Characters and marks as one text; a backslash more wherever braces of a kind touch outside a mark."""
    done: list[str] = []
    last = ""  # the brace that came last, if nothing but backslashes came since
    for unit in units:
        if unit[0] == last:
            done.append("\\")
        done.append(unit)
        if unit != "\\":
            last = unit[0] if unit[0] in "{}" else ""
    return "".join(done)


def _runs(pieces: Sequence[str], marked: Bool[np.ndarray, " token"]) -> list[tuple[str, bool]]:
    """Neighbouring tokens of a kind as one text; an empty piece belongs to the character it is a part of."""
    on = marked.tolist()
    if "" in pieces:
        begun = False  # whether a part of the character to come is marked
        for place, piece in enumerate(pieces):
            on[place] = begun or on[place]
            begun = on[place] and not piece
        kept = [place for place, piece in enumerate(pieces) if piece]
        pieces, on = [pieces[place] for place in kept], [on[place] for place in kept]
    runs, start = [], 0
    for kind, group in groupby(on):
        end = start + len(list(group))
        runs.append(("".join(pieces[start:end]), kind))
        start = end
    return runs
