"""Documents of a family, labelled: templates, compiled once, and the draft that they are written into."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from interp.bundled.world.concepts import lexical_labels
from interp.bundled.world.lexicon import read_data
from interp.bundled.world.vocabulary import strip_marks, token_ids
from interp.errors import UserError

# The id of every word and the concepts it carries.
_ENCODINGS = {word: (index, lexical_labels().get(word, 0)) for word, index in token_ids().items()}


@dataclass(frozen=True)
class TemplatePart:
    """A word of a template (`token` and its lexical `label`) or a `slot` to be filled in."""

    slot: str | None
    token: int
    label: int
    answer: bool
    chat: bool


@dataclass(frozen=True)
class Template:
    """A sentence with slots, compiled from the marks explained in `data/templates.yaml`."""

    parts: tuple[TemplatePart, ...]

    @classmethod
    def compile(cls, text: str) -> "Template":
        """Compile `text`; `KeyError` for a word outside the vocabulary."""
        parts = []
        for word in text.split():
            bare = strip_marks(word)
            marks = word.removesuffix(bare)
            slot = bare[1:-1] if bare.startswith("{") else None
            token, label = (0, 0) if slot else _ENCODINGS[bare]
            parts.append(TemplatePart(slot, token, label, "*" in marks, "~" in marks))
        return cls(tuple(parts))


class Draft:
    """A document being written, token by token.

    A token is labelled with the concepts its word carries in every context, and with those that are
    `active`. A concept becomes active when it is announced: by a slot (`write(..., announce=...)`), or by
    the first word that carries a concept among `spreading`. It then holds until `end`, never earlier.
    """

    __slots__ = ("active", "answers", "bits", "chat", "labels", "spreading", "suppressed", "tokens")

    def __init__(self, bits: Mapping[str, int] | None = None) -> None:
        """An empty document; `bits` are those of concepts that a family brings (see `begin`)."""
        self.bits = bits or {}
        self.tokens: list[int] = []
        self.labels: list[int] = []
        self.answers: list[bool] = []
        self.chat: list[bool] = []
        self.active = 0
        self.spreading = 0
        self.suppressed = 0

    def begin(self, concept: str) -> None:
        """Start a concept of the family's own, which holds until `end`; `KeyError` for another concept."""
        self.active |= self.bits[concept]

    def end(self) -> None:
        """Stop all active concepts."""
        self.active = 0

    def write(
        self, template: Template, slots: Mapping[str, str], announce: Mapping[str, int] | None = None
    ) -> None:
        """Write a template with its slots filled in.

        `announce` gives concepts, as bits, that hold from the last word of a slot on (an empty slot counts).
        """
        for part in template.parts:
            if part.slot is None:
                self._put(((part.token, part.label),), part.answer, part.chat)
                continue
            words = [_ENCODINGS[word] for word in slots[part.slot].split()]
            begins = announce.get(part.slot, 0) if announce else 0
            if begins:
                self._put(words[:-1], part.answer, part.chat)
                self.active |= begins
                words = words[-1:]
            self._put(words, part.answer, part.chat)

    def say(self, words: str, answer: bool = False) -> None:
        """Write plain words; with `answer` they are marked as determined by the words before them.

        Raises:
            UserError: a word is not in the world's vocabulary.
        """
        unknown = [word for word in words.split() if word not in _ENCODINGS]
        if unknown:
            raise UserError(
                f"the world has no word {unknown[0]!r}", f"document {words!r}", "use words of its vocabulary"
            )
        self._put([_ENCODINGS[word] for word in words.split()], answer, False)

    def _put(self, words: Sequence[tuple[int, int]], answer: bool, chat: bool) -> None:
        for token, label in words:
            self.active |= label & self.spreading
            self.tokens.append(token)
            self.labels.append((label & ~self.suppressed) | self.active)
            self.answers.append(answer)
            self.chat.append(chat)


def templates(family: str) -> Any:
    """The compiled templates of a family, nested as in the data file."""
    return _compile(read_templates()[family])


@cache
def read_templates() -> Any:
    """The content of the template file, not compiled."""
    return read_data("templates")


def _compile(node: Any) -> Any:
    if isinstance(node, str):
        return Template.compile(node)
    if isinstance(node, dict):
        return {name: _compile(child) for name, child in node.items()}
    return tuple(_compile(child) for child in node)


Write = Callable[[Random, Draft], None]


@dataclass(frozen=True)
class Family:
    """One kind of document.

    `write` fills a draft and uses no randomness but the generator it is given, so that a document is a
    function of its seed and index. `share` is the family's share of tokens, relative to the other families'.
    `concepts` are (name, definition) of concepts that no other family has; while one is active
    (`draft.begin(name)`), every token is labelled with it.
    """

    name: str
    share: float
    write: Write
    concepts: tuple[tuple[str, str], ...] = ()
