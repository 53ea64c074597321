"""Positions: at which tokens an intervention acts, whatever the padding, the batch and the cache."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.forward import ForwardPass

Named = Literal["all", "prompt", "generated", "last", "steps"]
Predicate = Callable[[Int[Tensor, "batch seen"]], Bool[Tensor, "batch seen"]]
Positions = Named | int | Sequence[int] | Tensor | Predicate
"""Where to act:

- `all`: every token; `prompt`: those that were given; `generated`: those that were not;
- `last`: the last token of the prompt; `steps`: it and every generated token, that is, wherever the next
  token is read off;
- a position or several, counted from 0 at the first token of a text (a beginning-of-sequence token is one),
  or backwards from -1 at the last token of the prompt;
- a mask [batch, pos] (or [pos], for every row) laid over the prompt as it is given, padding included;
- a function from token ids [batch, seen] to a mask of that shape. It is shown all tokens so far; it gives the
  same with and without a cache if it decides each place without looking at later ones.

Padding is never chosen, except by `all`, where nothing can come of it.
"""


def check_positions(positions: Positions, forward: ForwardPass) -> None:
    """Raises UserError if a text lacks a position, or a mask does not have the shape of the prompts."""
    if isinstance(positions, str):
        if positions not in get_args(Named):
            raise UserError(
                f"{positions!r} names no positions",
                "positions",
                f"use one of {', '.join(get_args(Named))}, a list of positions, a mask or a function",
            )
    elif isinstance(positions, Tensor):
        _check_mask(positions, len(forward.tokens), forward.prompt_length, rows=True)
    elif callable(positions):
        _check_mask(positions(forward.tokens), *forward.tokens.shape)
    else:
        shortest = int(forward.prompt_lengths().min())
        for position in [positions] if isinstance(positions, int) else positions:
            if isinstance(position, bool):
                raise UserError("a list of truth values names no positions", "positions", "give a tensor")
            if not -shortest <= position < shortest:
                raise UserError(
                    f"position {position} is past the prompt, which has {shortest} tokens",
                    "positions",
                    f"use {-shortest} to {shortest - 1}"
                    + (" (the shortest prompt decides)" if len(forward.tokens) > 1 else ""),
                )


def _check_mask(mask: Tensor, n_texts: int, n_tokens: int, rows: bool = False) -> None:
    shape = (n_texts, n_tokens)
    if tuple(mask.shape) != shape and not (rows and tuple(mask.shape) == shape[1:]):
        raise UserError(
            f"a mask of shape {tuple(mask.shape)} does not fit tokens of shape {shape}",
            "positions",
            "give it the shape of the tokens, padding included",
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise UserError(
            "a mask has values other than 0 and 1", "positions", "give positions as a list, not as a tensor"
        )


def chosen(
    positions: Positions, forward: ForwardPass, prompt_only: bool = False
) -> Bool[Tensor, "batch pos"] | bool:
    """Which of a pass's new columns are chosen; True if all of them are, False if none is.

    With `prompt_only`, columns after the prompt are never chosen.
    """
    if prompt_only and forward.start >= forward.prompt_length:
        return False
    if _named(positions, "all") and not prompt_only:
        return True
    if callable(positions):
        mask = positions(forward.tokens).to(forward.tokens.device).bool()
    else:
        goes_on = _named(positions, "generated", "steps")
        if forward.start >= forward.prompt_length:
            return goes_on
        mask = torch.full_like(forward.real, goes_on)
        mask[:, : forward.prompt_length] = _in_prompt(positions, forward)
    mask = mask & forward.real
    if prompt_only:
        mask[:, forward.prompt_length :] = False
    return mask[:, forward.start :]


def _named(positions: Positions, *names: Named) -> bool:
    return isinstance(positions, str) and positions in names


def _in_prompt(
    positions: Named | int | Sequence[int] | Tensor, forward: ForwardPass
) -> Bool[Tensor, "*batch pos"] | bool:
    if isinstance(positions, Tensor):
        return positions.to(forward.tokens.device).bool()
    if positions in ("all", "prompt", "generated"):
        return positions != "generated"
    if isinstance(positions, str):  # "last" and "steps"
        positions = -1
    lengths = forward.prompt_lengths()[:, None]
    place = forward.positions()[:, : forward.prompt_length]
    asked = torch.tensor([positions] if isinstance(positions, int) else list(positions), device=place.device)
    wanted = torch.where(asked < 0, lengths + asked, asked)
    return (place[:, :, None] == wanted[:, None, :]).any(-1)
