"""Pairs of a clean and a corrupted prompt of the same number of tokens."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from interp.attribution.passes import Prompts, laid_out
from interp.attribution.target import Target
from interp.errors import UserError
from interp.subject.forward import ForwardPass
from interp.subject.subject import Subject

Direction = Literal["denoise", "noise"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Prompts to patch: `base` run, with activations of `source` put in."""

    base: ForwardPass
    source: ForwardPass


def pairs_of(
    subject: Subject, clean: Prompts, corrupted: Prompts, target: Target, direction: Direction
) -> Pairs:
    """Makes pairs that put clean prompts into corrupted ones ("denoise"), or the reverse ("noise").

    Raises:
        UserError: the direction is unknown, the numbers of prompts differ, a pair has prompts of different
            lengths (shows the tokens of both), or the target does not fit.
    """
    if direction not in get_args(Direction):
        raise UserError(
            f"{direction!r} is no direction", "direction", f"use {' or '.join(get_args(Direction))}"
        )
    first, second = pairs_in_step(subject, laid_out(subject, clean), laid_out(subject, corrupted))
    first, second = target.asked_of(subject, first), target.asked_of(subject, second)
    return Pairs(second, first) if direction == "denoise" else Pairs(first, second)


def pairs_in_step(
    subject: Subject, first: ForwardPass, second: ForwardPass
) -> tuple[ForwardPass, ForwardPass]:
    """Returns the clean and the corrupted prompts, which have the same tokens' columns.

    Raises:
        UserError: their numbers differ, or a pair has prompts of different lengths (shows both).
    """
    if len(first.tokens) != len(second.tokens):
        raise UserError(
            f"{len(first.tokens)} clean and {len(second.tokens)} corrupted prompts are no pairs",
            "prompts",
            "give as many of each",
        )
    lengths = torch.stack([first.prompt_lengths(), second.prompt_lengths()], 1).tolist()
    for row, (one, other) in enumerate(lengths):
        if one != other:
            raise UserError(
                f"the clean prompt has {one} tokens, the corrupted one {other}: "
                f"{_shown(subject, first, row)} and {_shown(subject, second, row)}",
                f"pair {row + 1}",
                "give prompts that differ token for token",
            )
    return first, second


def _shown(subject: Subject, prompts: ForwardPass, row: int) -> str:
    return "|".join(subject.token_strings(prompts.tokens[row][prompts.real[row]]))
