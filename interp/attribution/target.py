"""Targets: the number that is attributed, such as the logit of a token after a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.intervene.positions import check_positions, chosen
from interp.subject.continuation import Continuation
from interp.subject.forward import ForwardPass, followed
from interp.subject.subject import Subject

Kind = Literal["logit", "log_prob", "logit_difference", "probability"]
Answer = int | tuple[int, ...]
"""A token's id, or the ids of an answer of several tokens."""
Words = str | int | Sequence[str | Answer]


@dataclass(frozen=True)
class Target:
    """A token's logit, its log-probability, its probability, or its logit minus that of a distractor.

    `token_ids` are one for all prompts, or one each; so are `distractor_ids`, which only the difference of
    logits has. Read off at `position`: counted from 0 at a prompt's first token (a beginning-of-sequence
    token is one), or backwards from -1 at its last. `said` is how the words were tokenised, to be shown.

    An answer of several tokens follows a prompt's last token. Its log-probability is the sum over its
    tokens, each given those before it (teacher forced), its probability the product.

    Raises:
        UserError: the kind is unknown, no token is named, distractors and the kind do not go together, a
            token is its own distractor, or an answer of several tokens has another kind or position.
    """

    kind: Kind
    token_ids: tuple[Answer, ...]
    distractor_ids: tuple[int, ...] = ()
    position: int = -1
    said: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"{self.kind!r} is no kind", "target", f"use one of {', '.join(get_args(Kind))}")
        if not all(self.answers) or not self.answers:
            raise UserError("no token is named", "target", "name one, or one a prompt")
        if (self.kind == "logit_difference") != bool(self.distractor_ids):
            raise UserError(
                f"the kind {self.kind} and {'a' if self.distractor_ids else 'no'} distractor do not fit",
                "target",
                "give a distractor with the kind logit_difference, and with no other",
            )
        if self.several and (self.kind not in ("log_prob", "probability") or self.position != -1):
            raise UserError(
                f"{self.kind} at position {self.position} needs one token, and an answer has several",
                "target",
                "use log_prob or probability at the prompt's end; to compare answers, subtract attributions",
            )
        for row in range(max(len(self.token_ids), len(self.distractor_ids)) if self.distractor_ids else 0):
            if _of_row(self.token_ids, row) == _of_row(self.distractor_ids, row):
                raise UserError(
                    f"target and distractor are the same token, {_of_row(self.token_ids, row)}",
                    "distractor",
                    "name words that differ in their first token",
                )

    @property
    def answers(self) -> tuple[tuple[int, ...], ...]:
        """`token_ids` as tuples, also of one token."""
        return tuple((ids,) if isinstance(ids, int) else ids for ids in self.token_ids)

    @property
    def several(self) -> bool:
        """Whether an answer has several tokens."""
        return any(len(answer) > 1 for answer in self.answers)

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
        """Makes a target from words or token ids.

        `kind` defaults to the logit of a token, with a distractor to the difference of two logits, and of an
        answer of several tokens to its log-probability. A word is what continues each of the `prompts` up to
        `position`; without prompts it must be one token, the same after any (`Subject.single_token`).

        Raises:
            UserError: a word is unknown, or a distractor not one token; without prompts, a word is several
                tokens, or which it is depends on the prompt; a prompt lacks the position; or as the class.
        """
        before = None if prompts is None else _before(prompts, position)
        answers = _taken(subject, target, "target", before)
        ids = tuple(one.ids[0] if len(one.ids) == 1 else one.ids for one in answers)
        if distractor is None:
            several = any(isinstance(answer, tuple) for answer in ids)
            return cls(kind or ("log_prob" if several else "logit"), ids, (), position, _said(answers))
        others = _taken(subject, distractor, "distractor", before)
        less = tuple(one.token("distractor") for one in others)
        said = f"{_said(answers)} less {_said(others)}"
        return cls(kind or "logit_difference", ids, less, position, said)

    def check(self, subject: Subject, prompts: ForwardPass) -> None:
        """Checks that the target fits a model and prompts, before the model runs.

        Raises:
            UserError: a prompt lacks the position, an id is not in the vocabulary, or there are neither one
                id nor as many as prompts.
        """
        check_positions(self.position, prompts)
        distractors = tuple((i,) for i in self.distractor_ids)
        for name, answers in (("target", self.answers), ("distractor", distractors)):
            wrong = [i for answer in answers for i in answer if not 0 <= i < subject.d_vocab]
            if wrong:
                raise UserError(
                    f"token id {wrong[0]} is not in the vocabulary", name, f"use 0 to {subject.d_vocab - 1}"
                )
            _check_count(len(answers), len(prompts.tokens), name)

    def asked_of(self, subject: Subject, prompts: ForwardPass) -> ForwardPass:
        """Makes the pass that the target is read from: prompts, and all but the last token of each answer.

        Raises:
            UserError: the target does not fit the model or the prompts.
        """
        self.check(subject, prompts)
        if not self.several:
            return prompts
        answers = self.answers * len(prompts.tokens) if len(self.answers) == 1 else self.answers
        return followed(prompts, [answer[:-1] for answer in answers])

    def columns(self, prompts: ForwardPass) -> Int[Tensor, "batch token"]:
        """The columns whose logits predict the target's tokens; those past a shorter answer are ignored."""
        longest = max(map(len, self.answers))
        first = _columns(self.position, prompts)
        return first[:, None] + torch.arange(longest, device=first.device)

    def of_rows(self, rows: Int[Tensor, " row"]) -> "Target":
        """Selects the target of prompts by row; a row may be repeated."""

        def taken(ids: tuple[Any, ...]) -> tuple[Any, ...]:
            return ids if len(ids) <= 1 else tuple(ids[row] for row in rows.tolist())

        return replace(self, token_ids=taken(self.token_ids), distractor_ids=taken(self.distractor_ids))

    def measure(self, logits: Float[Tensor, "batch token d_vocab"]) -> Float[Tensor, " batch"]:
        """Computes the target from the logits that predict its tokens, in single precision or wider."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.kind in ("log_prob", "probability"):
            wide = wide.log_softmax(-1)
        value = _total(wide, self.answers)
        if self.kind == "probability":
            return value.exp()
        return value - _total(wide, [(i,) for i in self.distractor_ids]) if self.distractor_ids else value


def _total(
    values: Float[Tensor, "batch token d_vocab"], answers: Sequence[tuple[int, ...]]
) -> Float[Tensor, " batch"]:
    """Sums the values of the tokens of each row's answer."""
    width = values.shape[1]
    ids = torch.tensor([[*answer, *[0] * (width - len(answer))] for answer in answers])
    past_end = torch.arange(width) >= torch.tensor([[len(answer)] for answer in answers])
    shape = values.shape[:2]
    found = values.gather(-1, ids.to(values.device).expand(shape)[..., None])[..., 0]
    return found.masked_fill(past_end.to(values.device).expand(shape), 0).sum(1)


def _check_count(tokens: int, prompts: int, place: str) -> None:
    if tokens not in (0, 1, prompts):
        raise UserError(
            f"{tokens} tokens do not fit {prompts} prompts", place, "give one, or one for each prompt"
        )


def _of_row(ids: Sequence[Answer], row: int) -> Answer:
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


def _taken(subject: Subject, words: Words, place: str, before: list[list[int]] | None) -> list[Continuation]:
    """Tokenises one answer for all prompts, or one for each."""
    listed: list[str | Answer] = [words] if isinstance(words, str | int) else list(words)
    if before is None:
        ids = [subject.single_token(word, place) if isinstance(word, str) else word for word in listed]
        return [_of_ids(subject, answer) for answer in ids]
    _check_count(len(listed), len(before), place)
    each = listed * len(before) if len(listed) == 1 else listed
    found = [
        subject.continuation(prompt, word, place) if isinstance(word, str) else _of_ids(subject, word)
        for prompt, word in zip(before, each, strict=True)
    ]
    return found[:1] if len(listed) == 1 and len({one.ids for one in found}) == 1 else found


def _of_ids(subject: Subject, answer: Answer) -> Continuation:
    each = [subject.continuation("", i) for i in ((answer,) if isinstance(answer, int) else answer)]
    pieces = tuple(one.text for one in each)
    return Continuation(tuple(one.ids[0] for one in each), "".join(pieces), pieces)


def _said(taken: Sequence[Continuation]) -> str:
    return ", ".join(dict.fromkeys(map(str, taken)))
