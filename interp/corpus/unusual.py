"""What in a corpus is no ordinary text: it ends no run, and it is counted and said."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

Kind = Literal["unknown_words", "replaced_characters", "left_out_documents"]
_WORDS: dict[Kind, str] = {
    "unknown_words": "words that the model does not know stand as unknown and count nowhere",
    "replaced_characters": "broken characters were read as U+FFFD",
    "left_out_documents": "documents were left out",
}


class Unusual:
    """Counts of what is unusual in the documents read so far, and the first of each kind.

    `unknown_words` are masked as special tokens are; `replaced_characters` were bytes that are no UTF-8 or
    halves of characters; `left_out_documents` cannot be used at all. `say` hears of the first of each kind.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self._say = say
        self._counts: Counter[Kind] = Counter()
        self._first: dict[Kind, str] = {}

    def add(self, kind: Kind, count: int, first: str) -> None:
        """Count `count` more; `first` says which the first of them is, and where it stands."""
        if count and kind not in self._first:
            self._first[kind] = first
            if self._say is not None:
                self._say(f"in the corpus {_WORDS[kind]}, the first: {first}")
        self._counts[kind] += count

    def counts(self) -> dict[str, int]:
        """How many of each kind, those that there are."""
        return {kind: count for kind, count in self._counts.items() if count}

    def first(self, kind: Kind) -> str:
        """The first of a kind and where it stands; empty if there is none."""
        return self._first.get(kind, "")


def said(counts: Mapping[str, int]) -> str:
    """Counts of what is unusual, in words; empty if there is nothing."""
    return "; ".join(f"{counts[kind]:,} {words}" for kind, words in _WORDS.items() if counts.get(kind))
