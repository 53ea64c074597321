"""Predictions and losses: likeliest tokens, cross-entropy and KL in nats.

All from the final norm's output (`Subject.normed`), a block of positions at a time and in single precision.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import kl_div, nll_loss

from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks


def likeliest_tokens(subject: Subject, normed: Float[Tensor, "row d_model"]) -> Int[Tensor, " row"]:
    """The likeliest next token after each of some positions, on the CPU."""
    (found,) = in_blocks(lambda rows: (subject.unembed(rows).argmax(-1),), subject.d_vocab, normed)
    return found.cpu()


def token_losses(
    subject: Subject, normed: Float[Tensor, "*batch d_model"], following: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """The cross-entropy of the token that follows each position."""
    losses, _ = compared_losses(subject, normed, [], following)
    return losses[0]


@torch.no_grad()
def compared_losses(
    subject: Subject,
    clean: Float[Tensor, "*batch d_model"],
    changed: Sequence[Float[Tensor, "*batch d_model"]],
    following: Int[Tensor, "*batch"],
) -> tuple[Float[Tensor, "pass *batch"], Float[Tensor, " changed *batch"]]:
    """Computes cross-entropies of the clean and the changed passes, and KL(clean || changed) of the latter.

    Every pass is unembedded once.
    """

    def log_probs(normed: Tensor) -> Tensor:
        return subject.unembed(normed).float().log_softmax(-1)

    def measure(after: Tensor, normed: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        p = log_probs(normed)
        losses = p.new_empty(len(p), 1 + len(others))
        divergences = p.new_empty(len(p), len(others))
        losses[:, 0] = nll_loss(p, after, reduction="none")
        for place, other in enumerate(others):
            q = log_probs(other)
            losses[:, 1 + place] = nll_loss(q, after, reduction="none")
            divergences[:, place] = kl_div(q, p, reduction="none", log_target=True).sum(-1)
        return losses, divergences

    rows = [each.reshape(-1, each.shape[-1]) for each in (clean, *changed)]
    after = following.to(clean.device).flatten()
    losses, divergences = in_blocks(measure, subject.d_vocab, after, *rows)
    shape = following.shape
    return losses.T.reshape(len(rows), *shape), divergences.T.reshape(len(changed), *shape)
