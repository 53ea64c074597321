"""Unusual text in a corpus, which is counted and reported but stops no run."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

Kind = Literal["unknown_words", "replaced_characters", "left_out_documents"]
_WORDS: dict[Kind, str] = {
    "unknown_words": "words that the model does not know stand as unknown and count nowhere",
    "replaced_characters": "broken characters were read as U+FFFD",
    "left_out_documents": "documents were left out",
}


class Unusual:
    """Counts of what is unusual in the documents read so far, and the first of each kind.

    `unknown_words` are masked as special tokens are; `replaced_characters` were bytes that are not UTF-8 or
    lone surrogates; `left_out_documents` cannot be used at all. `say` is called for the first of each kind.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self._say = say
        self._counts: Counter[Kind] = Counter()
        self._first: dict[Kind, str] = {}

    def add(self, kind: Kind, count: int, first: str) -> None:
        """Add `count` of a kind; `first` names the first of them and its place."""
        if count and kind not in self._first:
            self._first[kind] = first
            if self._say is not None:
                self._say(f"in the corpus {_WORDS[kind]}, the first: {first}")
        self._counts[kind] += count

    def merge(self, other: "Unusual") -> None:
        """Adds what was found in other documents, by another process."""
        for kind, count in other._counts.items():
            self.add(kind, count, other.first(kind))

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out whom to tell, who stays in this process."""
        return self.__dict__ | {"_say": None}

    def counts(self) -> dict[str, int]:
        """The count of each kind that occurred."""
        return {kind: count for kind, count in self._counts.items() if count}

    def first(self, kind: Kind) -> str:
        """The first of a kind and its place; empty if there is none."""
        return self._first.get(kind, "")


def said(counts: Mapping[str, int]) -> str:
    """The counts in words; empty if there are none."""
    return "; ".join(f"{counts[kind]:,} {words}" for kind, words in _WORDS.items() if counts.get(kind))
