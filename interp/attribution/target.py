"""Targets: the one number a prompt's next-token logits are asked for, that everything is attributed to."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.intervene.positions import check_positions, chosen
from interp.subject.forward import ForwardPass
from interp.subject.subject import Subject

Kind = Literal["logit", "log_prob", "logit_difference", "probability"]
Words = str | int | Sequence[str | int]


@dataclass(frozen=True)
class Target:
    """A token's logit, its log-probability, its probability, or its logit minus that of a distractor.

    `token_ids` are one for all prompts, or one a prompt; so are `distractor_ids`, which only the difference
    has. Read off at `position`: counted from 0 at a prompt's first token (a beginning-of-sequence token is
    one), or backwards from -1 at its last. `said` are the words as they were taken, to be shown.

    Raises:
        UserError: the kind is unknown, no token is named, distractors and the kind do not go together, or a
            token is its own distractor.
    """

    kind: Kind
    token_ids: tuple[int, ...]
    distractor_ids: tuple[int, ...] = ()
    position: int = -1
    said: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"{self.kind!r} is no kind", "target", f"use one of {', '.join(get_args(Kind))}")
        if not self.token_ids:
            raise UserError("no token is named", "target", "name one, or one a prompt")
        if (self.kind == "logit_difference") != bool(self.distractor_ids):
            raise UserError(
                f"the kind {self.kind} and {'a' if self.distractor_ids else 'no'} distractor do not fit",
                "target",
                "give a distractor with the kind logit_difference, and with no other",
            )
        for row in range(max(len(self.token_ids), len(self.distractor_ids)) if self.distractor_ids else 0):
            if _of_row(self.token_ids, row) == _of_row(self.distractor_ids, row):
                raise UserError(
                    f"target and distractor are the same token, {_of_row(self.token_ids, row)}",
                    "distractor",
                    "name words that differ in their first token",
                )

    @classmethod
    def of(
        cls,
        subject: Subject,
        target: Words,
        *,
        prompts: ForwardPass | None = None,
        distractor: Words | None = None,
        kind: Kind | None = None,
        position: int = -1,
    ) -> "Target":
        """A target from words or token ids: the logit, or with a distractor the difference, if not said.

        A word is the token that continues each of the `prompts` up to `position`; without prompts it must be
        the same token after any (`Subject.single_token`).

        Raises:
            UserError: a word is not exactly one token (says which tokens it is, and what to do), unknown, or
                its token depends on the prompt and there is none; a prompt lacks the position.
        """
        kind = kind or ("logit" if distractor is None else "logit_difference")
        before = None if prompts is None else _before(prompts, position)
        token_ids, said = _ids(subject, target, "target", before)
        others, less = ((), "") if distractor is None else _ids(subject, distractor, "distractor", before)
        return cls(kind, token_ids, others, position, f"{said} less {less}" if less else said)

    def check(self, subject: Subject, prompts: ForwardPass) -> None:
        """Holds the target against a model and prompts, before the model runs.

        Raises:
            UserError: a prompt lacks the position, an id is not in the vocabulary, or there are neither one
                id nor as many as prompts.
        """
        check_positions(self.position, prompts)
        for name, ids in (("target", self.token_ids), ("distractor", self.distractor_ids)):
            wrong = [i for i in ids if not 0 <= i < subject.d_vocab]
            if wrong:
                raise UserError(
                    f"token id {wrong[0]} is not in the vocabulary", name, f"use 0 to {subject.d_vocab - 1}"
                )
            _check_count(len(ids), len(prompts.tokens), name)

    def columns(self, prompts: ForwardPass) -> Int[Tensor, " batch"]:
        """The column of each prompt at which the target is read off."""
        return _columns(self.position, prompts)

    def of_rows(self, rows: Int[Tensor, " row"]) -> "Target":
        """The target of these prompts, which may be named several times."""

        def taken(ids: tuple[int, ...]) -> tuple[int, ...]:
            return ids if len(ids) <= 1 else tuple(ids[row] for row in rows.tolist())

        return replace(self, token_ids=taken(self.token_ids), distractor_ids=taken(self.distractor_ids))

    def measure(self, logits: Float[Tensor, "batch d_vocab"]) -> Float[Tensor, " batch"]:
        """The target's value from the logits at its position, in single precision or better."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.kind == "log_prob":
            wide = wide.log_softmax(-1)
        elif self.kind == "probability":
            wide = wide.softmax(-1)
        value = _at(wide, self.token_ids)
        return value - _at(wide, self.distractor_ids) if self.distractor_ids else value


def _at(values: Float[Tensor, "batch d_vocab"], ids: tuple[int, ...]) -> Float[Tensor, " batch"]:
    index = torch.tensor(ids, device=values.device).expand(len(values))
    return values.gather(-1, index[:, None])[:, 0]


def _check_count(tokens: int, prompts: int, place: str) -> None:
    if tokens not in (0, 1, prompts):
        raise UserError(
            f"{tokens} tokens do not fit {prompts} prompts", place, "give one, or one for each prompt"
        )


def _of_row(ids: tuple[int, ...], row: int) -> int:
    return ids[row if len(ids) > 1 else 0]


def _columns(position: int, prompts: ForwardPass) -> Int[Tensor, " batch"]:
    where = chosen(position, prompts)
    assert isinstance(where, Tensor)
    found: Tensor = where.long().argmax(1)
    return found


def _before(prompts: ForwardPass, position: int) -> list[list[int]]:
    """The tokens of each prompt up to a position, without padding."""
    check_positions(position, prompts)
    rows = zip(prompts.tokens, prompts.real, _columns(position, prompts).tolist(), strict=True)
    return [tokens[: end + 1][real[: end + 1]].tolist() for tokens, real, end in rows]


def _ids(
    subject: Subject, words: Words, place: str, before: list[list[int]] | None
) -> tuple[tuple[int, ...], str]:
    """One token for all prompts, or one a prompt, and what the words were taken for."""
    listed = [words] if isinstance(words, str | int) else list(words)
    if before is None:
        ids = [word if isinstance(word, int) else subject.single_token(word, place) for word in listed]
        return tuple(ids), ", ".join(map(repr, subject.token_strings(ids)))
    _check_count(len(listed), len(before), place)
    each = listed * len(before) if len(listed) == 1 else listed
    found = [subject.continuation(prompt, word, place) for prompt, word in zip(before, each, strict=True)]
    ids = [one.token(place) for one in found]
    ids = ids[:1] if len(listed) == 1 and len(set(ids)) == 1 else ids
    return tuple(ids), ", ".join(dict.fromkeys(map(str, found)))
