"""Checks of tokens, masks and lengths before a model runs."""

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UserError


def check_tokens(tokens: Int[Tensor, "batch pos"], n_ctx: int, d_vocab: int, name: str) -> None:
    """Raises UserError if tokens are too many for the context, or outside the vocabulary."""
    if tokens.shape[1] > n_ctx:
        raise UserError(
            f"{tokens.shape[1]} tokens do not fit the context of {n_ctx}",
            f"model {name}",
            "give shorter texts",
        )
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < d_vocab:
        raise UserError(
            f"token ids from {int(tokens.min())} to {int(tokens.max())} are not all in the vocabulary",
            f"model {name}",
            f"use ids from 0 to {d_vocab - 1}, made by this model's own tokenizer",
        )


def check_generation(length: int, max_new_tokens: int, n_ctx: int) -> None:
    """Raises UserError if a prompt of this length and the new tokens do not fit the context."""
    if length + max_new_tokens > n_ctx:
        raise UserError(
            f"{length} tokens and {max_new_tokens} new ones exceed the context of {n_ctx}",
            "max_new_tokens",
            f"ask for at most {max(0, n_ctx - length)}",
        )


def check_bos(tokens: Int[Tensor, "batch pos"], mask: Tensor | None, bos_id: int | None) -> None:
    """Raises UserError if a row's text begins with two beginning-of-sequence tokens."""
    if bos_id is None or tokens.shape[1] < 2:
        return
    rows = torch.arange(len(tokens), device=tokens.device)
    first = torch.zeros_like(rows) if mask is None else mask.to(tokens.device).long().argmax(1)
    second = (first + 1).clamp(max=tokens.shape[1] - 1)
    doubled = (tokens[rows, first] == bos_id) & (tokens[rows, second] == bos_id) & (second > first)
    if bool(doubled.any()):
        raise UserError(
            f"row {int(doubled.long().argmax())} begins with two beginning-of-sequence tokens (id {bos_id})",
            "tokens",
            "leave one out: pad, to_batch and texts bring their own",
        )


def check_mask(
    tokens: Int[Tensor, "batch pos"], mask: Tensor | None, padding_id: int | None, bos_id: int | None
) -> None:
    """Raises UserError if padding would be read as text, or a mask has another shape than the tokens.

    Without a mask every token is text. No text begins with `padding_id` (or with two of them, where that is
    also the beginning-of-sequence token), so a row that does was padded on the left and has lost its mask.
    """
    if mask is not None:
        if mask.shape != tokens.shape:
            raise UserError(
                f"a mask of shape {tuple(mask.shape)} does not fit tokens of shape {tuple(tokens.shape)}",
                "attention_mask",
                "give it the shape of the tokens: 1 where there is text, 0 at padding",
            )
        return
    begins = 2 if padding_id == bos_id else 1
    if padding_id is None or tokens.shape[1] < begins:
        return
    padded = (tokens[:, :begins] == padding_id).all(1)
    if bool(padded.any()):
        row = int(padded.long().argmax())
        raise UserError(
            f"row {row} begins with padding (token {padding_id}) and there is no mask",
            "tokens",
            "give the mask that to_batch gave, a mask of ones if this is text, or the texts themselves",
        )
