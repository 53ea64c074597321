"""Whether a model answers a prompt correctly: by its first token, or by words in the generated text."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from interp.corpus.first_token import is_trivial
from interp.errors import UserError
from interp.lenses.prompt import Prompt
from interp.lenses.prompt_batches import Change, next_normed, patched_continuations
from interp.subject.losses import likeliest_tokens
from interp.subject.subject import Subject
from interp.words import holds

_Taken = dict[tuple[tuple[int, ...], str], int]


@dataclass(frozen=True)
class Answers:
    """One right answer (or several spellings) for each item.

    With `new_tokens` 0, an item is right if the likeliest next token is the first token of one of its answers
    as it continues the prompt; otherwise, if the `new_tokens` that are generated greedily contain one of them
    as whole words, in any case and spacing.
    """

    texts: tuple[tuple[str, ...], ...]
    new_tokens: int = 0
    _taken: _Taken = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, subject: Subject, answers: Sequence[str | Sequence[str]], new_tokens: int = 0) -> "Answers":
        """Makes answers from words; raises UserError if one is empty or not in the vocabulary."""
        texts = tuple((a,) if isinstance(a, str) else tuple(a) for a in answers)
        for text in dict.fromkeys(text for spellings in texts for text in spellings):
            _check(subject, text)
        return cls(texts, new_tokens)

    def __len__(self) -> int:
        return len(self.texts)

    def of_items(self, items: Sequence[int]) -> "Answers":
        """Selects the answers of these items, in the order given; items may repeat."""
        return Answers(tuple(self.texts[item] for item in items), self.new_tokens, self._taken)

    def first(self, subject: Subject, prompts: Sequence[Prompt]) -> list[frozenset[int]]:
        """Returns, for each item, the first token of each of its answers as it continues its prompt."""
        asked = zip(prompts, self.texts, strict=True)
        return [frozenset(self._first(subject, prompt, text) for text in own) for prompt, own in asked]

    def right(
        self, subject: Subject, prompts: Sequence[Prompt], change: Change | None = None
    ) -> Bool[np.ndarray, " item"]:
        """Whether the subject answers each prompt correctly, under a change if one is given."""
        if self.new_tokens:
            return self.contained(patched_continuations(subject, prompts, self.new_tokens, change))
        top = likeliest_tokens(subject, next_normed(subject, prompts, change)).tolist()
        first = self.first(subject, prompts)
        return np.array([token in own for token, own in zip(top, first, strict=True)], dtype=bool)

    def contained(self, written: Sequence[str]) -> Bool[np.ndarray, " item"]:
        """Whether each written text holds one of its item's answers."""
        return np.array(
            [
                any(holds(said, text) for text in texts)
                for said, texts in zip(written, self.texts, strict=True)
            ],
            dtype=bool,
        )

    def _first(self, subject: Subject, prompt: Prompt, text: str) -> int:
        key = prompt.tokens, text
        if key not in self._taken:  # a sweep asks the same prompts hundreds of times
            self._taken[key] = subject.continuation(prompt.tokens, text, "answers").ids[0]
        return self._taken[key]


def first_tokens(subject: Subject, word: str) -> set[int]:
    """Returns the tokens that can begin a word, with a space before it and without.

    Used to read a layer, where no prompt fixes how the word is written (Wendler et al. 2024 add up these
    probabilities). A form of several tokens whose first token is uninformative (`is_trivial`) is left out, so
    the set may be empty.

    Raises:
        UserError: the word is empty, or unknown.
    """
    _check(subject, word)
    forms = [subject.continuation("", word.strip(), "answers", spaced) for spaced in (False, True)]
    return {form.ids[0] for form in forms if not is_trivial(form)}


def _check(subject: Subject, word: str) -> None:
    if not word.strip():
        raise UserError("an answer is empty", "answers", "write a word")
    subject.encode(word)
