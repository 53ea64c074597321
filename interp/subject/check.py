"""Whether a model can take these tokens at all, and write as many."""

from torch import Tensor

from interp.errors import UserError


def check_tokens(tokens: Tensor, n_ctx: int, d_vocab: int, name: str) -> None:
    """Raises UserError if tokens [batch, pos] are too many for the context, or outside the vocabulary."""
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
    """Raises UserError if a prompt of this length and what is to be written do not fit the context."""
    if length + max_new_tokens > n_ctx:
        raise UserError(
            f"{length} tokens and {max_new_tokens} new ones exceed the context of {n_ctx}",
            "max_new_tokens",
            f"ask for at most {max(0, n_ctx - length)}",
        )
