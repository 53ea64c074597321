"""The tokens that a word becomes after a prompt: one rule for targets, distractors, answers and foils.

Most tokenizers have two forms of a word, with a space before it and without. The form that continues the text
is taken:

1. A word that begins with white space is taken as it is given, and so is a token id.
2. A word is written without a space where the prompt is empty or ends in white space, an opening bracket or
   quote, a sign that joins what follows ("/", "$", the "-" inside a word) or a special token; where the word
   is a special token or begins with punctuation other than an opening bracket; and where either side is in a
   script without spaces (Han, kana, Thai, ...).
3. Otherwise it is written with a space, unless the tokenizer cannot encode it so there.

Prompt and word are tokenised together, and the tokens after the prompt's own are the word's. Where the
tokenizer merges the end of the prompt with the word (a space at the prompt's end; "(self" as one token), the
prompt keeps its tokens, and the word has those that it has inside another text.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.text import Text
from interp.words import spaceless

_GLUE = "/\\@#_¿¡"
_QUOTES = "\"'`"
_CLOSED_AFTER = ".,;:!?…)]}"
_SHOWN = 6  # most words listed in a note
_ANCHORS = ("\n", '"', ":")  # texts after which tokenizers encode a word as inside a text


Before = str | Sequence[int] | Int[Tensor, " pos"] | Int[Tensor, "batch pos"]


@dataclass(frozen=True)
class Continuation:
    """The tokens of a word after a prompt.

    `text` is the word as written there, with its space if it has one; `pieces` are its tokens as text;
    `other` is the other form in which the tokenizer could have encoded it there, if there is one.
    """

    ids: tuple[int, ...]
    text: str
    pieces: tuple[str, ...]
    other: str | None = None

    def __str__(self) -> str:
        """The form that was taken, and the other one, as shown in results."""
        return repr(self.text) + ("" if self.other is None else f" (not {self.other!r})")

    def token(self, place: str = "target") -> int:
        """The id of a word that is one token; raises UserError (with its tokens) if it is several."""
        if len(self.ids) == 1:
            return self.ids[0]
        raise UserError(_several(self.text, self.pieces), place, "give one of these tokens, or a token id")


def continuation(
    text: Text,
    prompt: Before,
    word: str | int,
    place: str = "target",
    spaced: bool | None = None,
) -> Continuation:
    """Tokenises `word` as it continues `prompt`, by the rule of this module.

    `prompt` is a text or its token ids (a conversation, one row of tokens without padding); `spaced` decides
    whether a space is written between them; `place` says in an error where the word was given.

    Raises:
        UserError: the word is empty, or the tokenizer does not know it; the prompt is several rows of tokens.
    """
    if isinstance(word, int):
        pieces = tuple(text.strings([word])) if 0 <= word < len(text.tokenizer) else (f"token {word}",)
        return Continuation((word,), pieces[0], pieces)
    if not word:
        raise UserError("the word is empty", place, "write a word, or give a token id")
    before = prompt if isinstance(prompt, str) else text.decode(_without_bos(text, _row(prompt)))
    ids, form, other = _chosen(text, before, word, spaced)
    return Continuation(ids, form, tuple(text.strings(ids)), other)


def notes_on(said: Iterable[str], what: str = "Answers") -> list[str]:
    """Makes a note for readers of results on how words were tokenised; `said` are `str` of continuations."""
    distinct = list(dict.fromkeys(said))
    if not distinct:
        return []
    more = f", and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else ""
    return [f"{what} are the tokens that continue their prompts: {', '.join(distinct[:_SHOWN])}{more}."]


def single_token(text: Text, word: str, place: str, prompt: Before | None = None) -> int:
    """The id of a word that is exactly one token after a prompt; without one, the same token after any.

    Raises:
        UserError: it is several tokens (says which, and what to do), or there is no prompt and the token
            depends on it.
    """
    if prompt is not None or not word or word[0].isspace():
        return continuation(text, "" if prompt is None else prompt, word, place).token(place)
    spaced = f" {word}"
    bare, apart = _elsewhere(text, word), _elsewhere(text, spaced)
    if len(bare) != 1 and len(apart) == 1:
        raise UserError(_several(word, text.strings(bare)), place, f"give {spaced!r}, which is one token")
    if len(bare) == 1 and len(apart) == 1 and bare != apart:
        raise UserError(
            f"{word!r} and {spaced!r} are two tokens, and which is meant depends on the prompt",
            place,
            f"give the prompt, {spaced!r}, or a token id",
        )
    return Continuation(bare, word, tuple(text.strings(bare))).token(place)


def _several(word: str, pieces: Sequence[str]) -> str:
    return f"{word!r} is not one token but {len(pieces)}: {', '.join(map(repr, pieces))}"


def _chosen(
    text: Text, before: str, word: str, spaced: bool | None
) -> tuple[tuple[int, ...], str, str | None]:
    """Returns the tokens, the form that they encode, and the other form if there is one."""
    bare, apart = word, f" {word}"
    if word[0].isspace() or spaced is False or (spaced is None and before[-1:].isspace()):
        return _after(text, before, bare) or _elsewhere(text, bare), bare, None
    if spaced:
        return _after(text, before, apart) or _elsewhere(text, apart), apart, None
    with_space, without = _after(text, before, apart), _after(text, before, bare)
    if _written_on(text, before, bare):
        without = without or _elsewhere(text, bare)
        return without, bare, apart if with_space and with_space != without else None
    if with_space or not without:
        other = bare if without and with_space != without else None
        return with_space or _elsewhere(text, apart), apart, other
    return without, bare, None


def _written_on(text: Text, before: str, word: str) -> bool:
    """Whether a word is written without a space after a text."""
    own = _tokens(text, word)
    if (
        not before
        or (own and set(own) <= text.special_ids)
        or set(_tokens(text, before)[-1:]) & text.special_ids
    ):
        return True
    last, first = before[-1], word[0]
    return (
        last in _GLUE
        or unicodedata.category(last) in ("Ps", "Pi", "Sc")
        or (unicodedata.category(last) == "Pd" and not before[-2:-1].isspace())
        or (last in _QUOTES and not (before[-2:-1].isalnum() or before[-2:-1] in tuple(_CLOSED_AFTER)))
        or (unicodedata.category(first)[0] == "P" and unicodedata.category(first) not in ("Ps", "Pi"))
        or spaceless(last)
        or spaceless(first)
    )


def _after(text: Text, before: str, form: str) -> tuple[int, ...]:
    """The tokens of `form` after a text; empty if they would change the text's own tokens."""
    own, whole = _tokens(text, before), _tokens(text, before + form)
    return whole[len(own) :] if whole[: len(own)] == own else ()


def _elsewhere(text: Text, form: str) -> tuple[int, ...]:
    """The tokens of `form` inside another text."""
    found = next((ids for anchor in _ANCHORS if (ids := _after(text, anchor, form))), None)
    return found or tuple(text.encode(form, prepend_bos=False))


def _tokens(text: Text, written: str) -> tuple[int, ...]:
    """Token ids without a BOS; empty if one is the unknown token."""
    ids = tuple(text.tokenizer(written, add_special_tokens=False)["input_ids"])
    unknown = text.tokenizer.unk_token_id
    return () if unknown in ids and text.tokenizer.unk_token not in written else ids


def _row(prompt: Sequence[int] | Tensor) -> list[int]:
    if not isinstance(prompt, Tensor):
        return list(prompt)
    if prompt.ndim > 1 and len(prompt) != 1:
        raise UserError(f"{len(prompt)} rows of tokens are not one prompt", "prompt", "give one row")
    return [int(token) for token in prompt.flatten()]


def _without_bos(text: Text, ids: list[int]) -> list[int]:
    return ids[1:] if ids[:1] == [text.bos_id] else ids
