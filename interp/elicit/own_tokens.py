"""A prompt as its own token ids, of which only those are kept that its text is read as again."""

import hashlib
from collections.abc import Sequence
from functools import cached_property

from interp.elicit.target import Target
from interp.errors import UserError

Ids = tuple[int, ...]


class OwnTokens:
    """Turns prompts into their own token ids and back, within a target's frame.

    A search over tokens must end with text. A list of ids counts only if its text, put into the frame, gives
    the same ids again, as the implementations of Zou et al. 2023 (arXiv 2307.15043) filter theirs.
    """

    def __init__(self, target: Target) -> None:
        self.target = target

    def ids(self, prompt: str) -> Ids | None:
        """A prompt's own ids; None if they alone do not make the prompt, or it cannot be asked."""
        if not self.target.takes(prompt):
            return None
        ids = tuple(self.target.ids(prompt)[self.target.span(prompt)])
        return ids if ids and self.target.subject.decode(ids) == prompt else None

    def text(self, ids: Ids) -> str | None:
        """The prompt of these ids; None if it is read as others, holds special tokens, or cannot be asked."""
        if not self._left_out.isdisjoint(ids):
            return None
        text = self.target.subject.decode(ids)
        return text if self.ids(text) == ids else None

    @property
    def _left_out(self) -> frozenset[int]:
        return self.target.subject.special_ids | self.target.subject.end_ids

    @cached_property
    def vocabulary(self) -> tuple[Ids, ...]:
        """Every token that its own text is read as, without special ones."""
        subject = self.target.subject
        known = [
            i for i in range(subject.d_vocab) if i not in subject.special_ids and i not in subject.end_ids
        ]
        spaced = subject.token_strings(known)
        alone = subject.tokenizer.batch_decode([[i] for i in known], clean_up_tokenization_spaces=False)
        read = [
            subject.tokenizer(list(texts), add_special_tokens=False)["input_ids"] for texts in (spaced, alone)
        ]
        return tuple((i,) for place, i in enumerate(known) if [i] in (read[0][place], read[1][place]))

    def words(self, words: Sequence[str]) -> tuple[Ids, ...]:
        """The ids of words as they stand within a text.

        Raises:
            UserError: the model does not know a word.
        """
        found = []
        for place, word in enumerate(words):
            if not word.strip():
                raise UserError("a word is empty", f"words, number {place + 1}", "leave it out")
            found.append(tuple(self.target.subject.encode(f" {word.strip()}")))
        return tuple(dict.fromkeys(found))


def said_in_short(words: Sequence[str]) -> str:
    """A list of words as part of a name: how many, and a digest that tells lists apart."""
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:8]
    return f"{len(words)} words {digest}"
