"""What text is about, word by word: the world's own concepts, or lists of words for any model and text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from interp.bundled.world.draft import Draft
from interp.bundled.world.families.numbers import NUMBERS
from interp.bundled.world.families.sentences import TOPIC
from interp.bundled.world.labelling import carried, carries
from interp.bundled.world.lexicon import lexicon
from interp.document import Corpus, Document, Split, split_of
from interp.errors import UserError
from interp.json_text import read_json
from interp.subject.subject import Subject

Tokens = tuple[int, ...]
MOST = 64
"""Lists at a time: a token's labels are a mask of so many bits."""
_WORD = re.compile(r"[^\W\d_]+")
_FIX = 'write {"words": ["sea", "boat", ...], "announcement": "This is a text about the sea."}'


@runtime_checkable
class Concepts(Protocol):
    """Says which tokens belong to a concept's words, and how a text announces the concept."""

    def carries(self, tokens: Sequence[int], concept: str) -> Bool[np.ndarray, " token"]:
        """Which tokens belong to a word that carries the concept."""
        ...

    def words(self, concept: str) -> tuple[Tokens, ...]:
        """The concept's words that are one token."""
        ...

    def announcement(self, concept: str) -> Tokens | None:
        """The tokens of a beginning that asks for the concept; None if there is none."""
        ...


class WorldConcepts:
    """The concepts of the bundled world's words."""

    def carries(self, tokens: Sequence[int], concept: str) -> Bool[np.ndarray, " token"]:
        """Which tokens are words that carry a concept.

        Raises:
            UserError: there is no such concept, or no word carries it.
        """
        return carries(tokens, concept)

    def words(self, concept: str) -> tuple[Tokens, ...]:
        """The words that carry the concept."""
        return tuple((i,) for i in np.flatnonzero(carries(range(len(carried())), concept)).tolist())

    def announcement(self, concept: str) -> Tokens | None:
        """The tokens with which a document of the world announces a concept; None if there are none.

        A topic: "a text about weather :". A context of numbers: "a calendar .", in its first word.
        """
        kind, _, name = concept.partition("_")
        draft = Draft()
        if kind == "topic" and name in lexicon().topics:
            draft.write(TOPIC["header"], {"topic": name})
        elif kind == "ctx" and name in lexicon().number_contexts:
            draft.write(NUMBERS["context"], {"context": lexicon().number_contexts[name][0]})
        else:
            return None
        return tuple(draft.tokens)


WORLD = WorldConcepts()


@dataclass(frozen=True)
class WordList:
    """A concept as a list of words, and perhaps a text that announces it."""

    name: str
    words: frozenset[str]
    announcement: str | None = None

    @classmethod
    def read(cls, path: Path) -> "WordList":
        """Reads a JSON file: `words`, and `announcement` if there is one; its name is the file's.

        Words are of letters alone, in any case; inflected forms are words of their own.

        Raises:
            UserError: the file is missing or damaged, has no words, or one that is not of letters alone.
        """
        found = read_json(path, _FIX)
        words, announcement = found.get("words"), found.get("announcement")
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise UserError("there are no words", str(path), _FIX)
        wrong = next((word for word in words if not _WORD.fullmatch(word)), None)
        if wrong is not None:
            raise UserError(f"{wrong!r} is not one word of letters", str(path), "give single words")
        if announcement is not None and not (isinstance(announcement, str) and announcement.strip()):
            raise UserError("the announcement is no text", str(path), _FIX)
        return cls(path.stem, frozenset(word.casefold() for word in words), announcement)


class WordLists:
    """Concepts as lists of words, for any model: a token carries one if its word, whole, is in the list.

    A word with a character that the tokenizer splits into bytes is not found.

    Raises:
        UserError: there are more than 64 lists.
    """

    def __init__(self, lists: Sequence[WordList], subject: Subject) -> None:
        if len(lists) > MOST:
            raise UserError(f"{len(lists)} word lists", "concepts", f"give at most {MOST} at a time")
        self.lists: Mapping[str, WordList] = {one.name: one for one in lists}
        self.names = tuple(self.lists)
        self.subject = subject
        self._masks: dict[str, int] = {}
        for bit, one in enumerate(self.lists.values()):
            for word in one.words:
                self._masks[word] = self._masks.get(word, 0) | 1 << bit

    def labels(self, tokens: Sequence[int]) -> NDArray[np.uint64]:
        """Bit masks [token] over `names`: the lists that hold the word which the token is a part of."""
        strings = self.subject.token_strings(tokens)
        ends = np.cumsum([len(one) for one in strings])
        found = np.zeros(len(strings), dtype=np.uint64)
        for word in _WORD.finditer("".join(strings)):
            mask = self._masks.get(word.group().casefold(), 0)
            if mask:
                first, last = np.searchsorted(ends, (word.start(), word.end() - 1), side="right")
                found[first : last + 1] |= np.uint64(mask)
        return found

    def carries(self, tokens: Sequence[int], concept: str) -> Bool[np.ndarray, " token"]:
        """Which tokens belong to a word of the concept's list."""
        return np.asarray(self.labels(tokens) & np.uint64(1 << self.names.index(concept)) != 0)

    def words(self, concept: str) -> tuple[Tokens, ...]:
        """The list's words that are one token after a space.

        Raises:
            UserError: there are none.
        """
        found = [tuple(self.subject.encode(f" {word}")) for word in sorted(self.lists[concept].words)]
        single = tuple(ids for ids in found if len(ids) == 1)
        if not single:
            raise UserError(f"no word of {concept} is one token", "concepts", "give more usual words")
        return single

    def announcement(self, concept: str) -> Tokens | None:
        """The tokens of the text that announces the concept; None if its file has none."""
        said = self.lists[concept].announcement
        return None if said is None else tuple(self.subject.encode(said))


class LabelledByWords:
    """A corpus whose tokens carry, as labels, the word lists that hold their words."""

    def __init__(self, corpus: Corpus, lists: WordLists) -> None:
        self.corpus, self.lists = corpus, lists
        self.name, self.label_names = corpus.name, lists.names

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, index: int) -> Document:
        document = self.corpus[index]
        return replace(document, labels=self.lists.labels(document.tokens.tolist()))

    def check_carried(self, split: Split) -> None:
        """Reads documents of a split until every list has been met.

        Raises:
            UserError: a list has no word in any of them.
        """
        missing = set(self.label_names)
        for index in range(len(self)):
            if not missing:
                return
            document = self[index]
            if split_of(document.hash) == split and document.labels is not None:
                met = int(np.bitwise_or.reduce(document.labels, initial=np.uint64(0)))
                missing -= {name for bit, name in enumerate(self.label_names) if met >> bit & 1}
        if missing:
            raise UserError(
                f"no word of {', '.join(sorted(missing))} is in the {split} split's text",
                self.name,
                "give words that the text has, or more text",
            )
