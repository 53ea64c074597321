"""What counts as right behind a prompt: the first token, or words in what is written."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from interp.errors import UserError
from interp.lens.prompt import Prompt
from interp.lens.runs import Change, continuations, next_normed
from interp.subject.losses import likeliest_tokens
from interp.subject.subject import Subject


@dataclass(frozen=True)
class Answers:
    """One right answer (or several spellings) for each item.

    With `new_tokens` 0 an item is right if the likeliest next token begins one of its answers; else if one of
    them, in any case and spacing, stands in the `new_tokens` that are written greedily.
    """

    texts: tuple[tuple[str, ...], ...]
    first: tuple[frozenset[int], ...]
    new_tokens: int = 0

    @classmethod
    def of(cls, subject: Subject, answers: Sequence[str | Sequence[str]], new_tokens: int = 0) -> "Answers":
        """Answers as words; raises UserError for one that is empty or that the subject cannot write."""
        texts = tuple((a,) if isinstance(a, str) else tuple(a) for a in answers)
        first = tuple(
            frozenset(i for text in spellings for i in first_tokens(subject, text)) for spellings in texts
        )
        return cls(texts, first, new_tokens)

    def __len__(self) -> int:
        return len(self.texts)

    def of_items(self, items: Sequence[int]) -> "Answers":
        """The answers of some items, in that order, perhaps repeated."""
        return Answers(
            tuple(self.texts[item] for item in items),
            tuple(self.first[item] for item in items),
            self.new_tokens,
        )

    def right(
        self, subject: Subject, prompts: Sequence[Prompt], change: Change | None = None
    ) -> Bool[np.ndarray, " item"]:
        """Whether the subject answers each prompt rightly, under a change."""
        if self.new_tokens:
            return self.contained(continuations(subject, prompts, self.new_tokens, change))
        top = likeliest_tokens(subject, next_normed(subject, prompts, change)).tolist()
        return np.array([token in first for token, first in zip(top, self.first, strict=False)], dtype=bool)

    def contained(self, written: Sequence[str]) -> Bool[np.ndarray, " item"]:
        """Whether each written text holds one of its item's answers."""
        return np.array(
            [
                any(_plain(text) in _plain(said) for text in texts)
                for said, texts in zip(written, self.texts, strict=True)
            ],
            dtype=bool,
        )


def first_tokens(subject: Subject, word: str) -> set[int]:
    """The tokens that can begin a word behind a prompt: as it stands, and behind a space.

    Raises:
        UserError: the word is empty.
    """
    if not word.strip():
        raise UserError("an answer is empty", "answers", "write a word")
    found = set()
    for spelling in (word, f" {word.strip()}"):
        ids = subject.encode(spelling)
        pieces = subject.token_strings(ids)
        found.add(next(i for i, piece in zip(ids, pieces, strict=True) if piece.strip()))
    return found


def _plain(text: str) -> str:
    return "".join(text.lower().split())
