"""A window as text for a language model: the pieces of its tokens, and a feature's activation on each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.descriptions.evidence import Evidence, Window
from interp.json_text import to_json
from interp.mining.exemplars import SILENT_SHARE
from interp.subject.subject import Subject

BROKEN = "\N{REPLACEMENT CHARACTER}"
LONGEST_CHARACTER = 4
"""Bytes of the longest character in UTF-8, so of the most tokens that share one."""


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Text of one document, cut into the subject's tokens.

    `pieces` [token] are the texts of the tokens; concatenated they are `text`. A token whose bytes are
    only a part of a character has an empty piece, and the last token of the character has the whole.
    """

    window: Window
    pieces: tuple[str, ...]

    @property
    def values(self) -> Float[np.ndarray, " token"]:
        """The activation of each token, in the feature's polarity."""
        return self.window.values

    @property
    def counts(self) -> Bool[np.ndarray, " token"]:
        """False where a token is context only: never a peak, never scored."""
        return self.window.counts

    @cached_property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    @cached_property
    def ends(self) -> Int[np.ndarray, " token"]:
        """The offset in `text`, in characters, at which each token ends."""
        return np.cumsum([len(piece) for piece in self.pieces], dtype=np.int64)

    @cached_property
    def listed(self) -> str:
        """The texts of the tokens as a JSON list."""
        return to_json(self.pieces, ensure_ascii=False)

    @property
    def peak(self) -> float:
        """The largest activation on a token that counts; 0 if there is none above it."""
        return float(self.values[self.counts].max(initial=0.0))


@dataclass(frozen=True)
class TextEvidence:
    """One feature's explain-split excerpts: its strongest, other mined ones, and ones where it is silent.

    `levels` are activations that it seldom exceeds, the rarest first (its own outer quantiles), if known.
    """

    exemplars: Sequence[Excerpt]
    others: Sequence[Excerpt] = ()
    silent: Sequence[Excerpt] = ()
    levels: Sequence[float] = ()


def text_evidence(subject: Subject, evidence: Evidence, levels: Sequence[float] = ()) -> TextEvidence:
    """Converts evidence to text: exemplars, other mined windows, and those that are silent."""
    exemplars = excerpts(subject, evidence.exemplars)
    largest = max((one.peak for one in exemplars), default=0.0)
    rest = excerpts(subject, [*evidence.background, *evidence.random])
    quiet = [one.peak <= SILENT_SHARE * largest for one in rest]
    return TextEvidence(
        exemplars,
        [one for one, silent in zip(rest, quiet, strict=True) if not silent],
        [one for one, silent in zip(rest, quiet, strict=True) if silent],
        levels,
    )


def excerpts(subject: Subject, windows: Sequence[Window]) -> list[Excerpt]:
    """Adds to each window the text of its tokens, in the order given."""
    return [Excerpt(window, pieces(subject, window.tokens)) for window in windows]


def pieces(subject: Subject, tokens: Int[np.ndarray, " token"]) -> tuple[str, ...]:
    """Returns the text of each token of a row with the white space before it; joined, they are its text.

    A row that begins with a word also has the space before it, if that belongs to its token. Tokens are
    decoded together where one alone is not a whole character. White space that a tokenizer puts between
    tokens, but into none, goes to the token after it.
    """
    if not len(tokens):
        return ()
    alone = _whole_characters(subject, tokens.tolist())
    text, at = subject.decode(tokens.tolist()), 0
    spaced = []
    for piece in alone:
        start = text.find(piece, at)
        if start < 0 or text[at:start].strip():
            return tuple(alone)
        spaced.append(text[at : start + len(piece)])
        at = start + len(piece)
    return tuple(spaced)


def _whole_characters(subject: Subject, tokens: list[int]) -> list[str]:
    """Each token on its own; of tokens that share a character, the last has it, the others nothing."""
    found: list[str] = []
    broken: list[int] = []
    for token, text in zip(tokens, subject.token_strings(tokens), strict=True):
        if not broken and BROKEN not in text:
            found.append(text)
            continue
        broken.append(token)
        together = subject.decode(broken)
        if BROKEN in together and len(broken) < LONGEST_CHARACTER:
            found.append("")
        else:
            found.append(together)
            broken = []
    if broken:
        found[-1] = subject.decode(broken)
    return found
