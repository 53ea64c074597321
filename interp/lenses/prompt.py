"""Prompts with a token that matters: found by its words, counted from the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from interp.errors import UserError
from interp.subject.subject import Subject

Which = Literal["first", "last"]


@dataclass(frozen=True)
class Prompt:
    """Token ids without a beginning-of-sequence token, and a position counted from the end (-1 is the last).

    Counted from the end, it does not change with padding on the left or a beginning-of-sequence token.
    """

    tokens: tuple[int, ...]
    position: int = -1

    def at(self, position: int) -> "Prompt":
        """The same tokens with another position."""
        return Prompt(self.tokens, position)


def prompt_at(subject: Subject, text: str, span: str | None = None, which: Which = "last") -> Prompt:
    """Makes a prompt at the last token of `span` (its last occurrence, or the first), or of the text.

    Raises:
        UserError: as `span_positions`, or the text is too long for the context.
    """
    tokens = subject.encode(text)
    check_length(subject, tokens, text)
    return Prompt(tuple(tokens), -1 if span is None else span_positions(subject, text, span, which)[-1])


def placeholder_at(subject: Subject, text: str, placeholder: str) -> Prompt:
    """Makes a prompt at the last occurrence of a placeholder, which must be one token.

    Raises:
        UserError: as `span_positions`, or the placeholder is several tokens or a special one.
    """
    found = span_positions(subject, text, placeholder)
    if len(found) > 1:
        raise UserError(
            f"the placeholder {placeholder!r} is {len(found)} tokens: "
            f"{_shown(subject, subject.encode(text))}",
            f"prompt {text!r}",
            "choose a word of one token",
        )
    prompt = prompt_at(subject, text, placeholder)
    check_ordinary(subject, prompt)
    return prompt


def span_positions(subject: Subject, text: str, span: str, which: Which = "last") -> list[int]:
    """Finds the positions of a span's tokens in a text, counted from its end.

    Raises:
        UserError: the text does not contain the span, or a token extends past its end (shows the tokens).
    """
    tokens, offsets = subject.encode(text), subject.offsets(text)
    start = text.rfind(span) if which == "last" else text.find(span)
    where = f"prompt {text!r}"
    if start < 0 or not span:
        raise UserError(
            f"it does not hold {span!r}; its tokens are {_shown(subject, tokens)}", where, "give words of it"
        )
    end = start + len(span)
    inside = [place for place, (low, high) in enumerate(offsets) if low < end and high > start]
    if offsets[inside[-1]][1] > end:
        raise UserError(
            f"the token at the end of {span!r} goes on after it: {_shown(subject, tokens)}",
            where,
            "let the span end where a token ends",
        )
    return [place - len(tokens) for place in inside]


def check_length(subject: Subject, tokens: Sequence[int], text: str, new_tokens: int = 0) -> None:
    """Raises UserError if the tokens, after a beginning-of-sequence token, do not fit the context."""
    length = len(subject.with_bos(tokens)) + new_tokens
    if length > subject.n_ctx:
        raise UserError(
            f"{length} tokens do not fit the context of {subject.n_ctx}",
            f"prompt {text[:40]!r}",
            "shorten it",
        )


def check_ordinary(subject: Subject, prompt: Prompt) -> None:
    """Raises UserError if the prompt's position is outside of it, or on a special token."""
    tokens = prompt.tokens
    if not -len(tokens) <= prompt.position < 0:
        raise UserError(
            f"position {prompt.position} is not in a prompt of {len(tokens)} tokens",
            f"prompt {subject.decode(tokens)!r}",
            f"count from the end, -1 to {-len(tokens)}",
        )
    if tokens[prompt.position] in subject.special_ids:
        raise UserError(
            f"position {prompt.position} is the special token {_shown(subject, [tokens[prompt.position]])}",
            f"prompt {subject.decode(tokens)!r}",
            f"choose another of {_shown(subject, tokens)}",
        )


def _shown(subject: Subject, tokens: Sequence[int]) -> str:
    return " ".join(f"[{piece}]" for piece in subject.token_strings(tokens))
