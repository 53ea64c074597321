"""Scoring: the log-probability of given tokens, as if they had been generated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interp.errors import UserError
from interp.subject.unembedding import in_blocks

PAIRS_AT_ONCE = 128
Lengths = tuple[int, int]
"""Tokens of a prompt (a beginning-of-sequence token counted) and of its continuation."""


@dataclass(frozen=True, eq=False)
class Scores:
    """How likely a subject finds given continuations; one row for each pair of prompt and continuation.

    `per_token` is the log-probability in nats of each token given all before it, 0 right of a continuation's
    end; `likeliest` says whether no token was likelier, true right of the end. `tokens` are the ids.
    """

    tokens: tuple[tuple[int, ...], ...]
    per_token: Float[Tensor, "pair token"]
    likeliest: Bool[Tensor, "pair token"]

    def __repr__(self) -> str:
        shown = [f"{total:.2f}" for total in self.total[:5].tolist()]
        more = ["..."] if len(self.tokens) > 5 else []
        return f"Scores({len(self.tokens)} continuations: {', '.join([*shown, *more])} nats)"

    @property
    def total(self) -> Float[Tensor, " pair"]:
        """The log-probability of each whole continuation, in nats."""
        return self.per_token.sum(1)

    @property
    def greedy(self) -> Bool[Tensor, " pair"]:
        """Whether greedy generation would write the continuation."""
        return self.likeliest.all(1)


def measured(
    unembed: Callable[[Tensor], Tensor],
    d_vocab: int,
    normed: Float[Tensor, "pair token d_model"],
    continuations: Sequence[Sequence[int]],
) -> Scores:
    """Computes scores of continuations from the final norm's outputs that predict their tokens."""
    width = normed.shape[1]
    ids = torch.tensor([[*row, *[row[-1]] * (width - len(row))] for row in continuations])
    past_end = torch.arange(width) >= torch.tensor([len(row) for row in continuations])[:, None]

    def measure(rows: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        logits = unembed(rows)
        wide = logits if logits.device.type == "mps" else logits.double()
        return wide.log_softmax(-1).gather(-1, wanted[:, None])[:, 0], logits.argmax(-1) == wanted

    read = in_blocks(measure, d_vocab, normed.flatten(0, 1), ids.to(normed.device).flatten())
    found, likeliest = (each.cpu().view(-1, width) for each in read)
    rows = tuple(tuple(row) for row in continuations)
    return Scores(rows, found.double().masked_fill(past_end, 0), likeliest | past_end)


def joined(parts: Sequence[Scores], places: Sequence[int]) -> Scores:
    """Joins the scores of batches, and puts row i at `places[i]`."""
    order = torch.tensor(places).argsort()
    tokens = [row for part in parts for row in part.tokens]
    per_token = [row for part in parts for row in part.per_token]
    likeliest = [row for part in parts for row in part.likeliest]
    return Scores(
        tuple(tokens[place] for place in order.tolist()),
        pad_sequence(per_token, batch_first=True)[order],
        pad_sequence(likeliest, batch_first=True, padding_value=True)[order],
    )


def pairs_in_batches(lengths: Sequence[Lengths], n_ctx: int) -> list[list[int]]:
    """Groups pairs of similar length into passes that are no wider than the context.

    Raises:
        UserError: a pair does not fit the context.
    """
    for place, (prompt, answer) in enumerate(lengths):
        if prompt + answer > n_ctx:
            raise UserError(
                f"{prompt} tokens and the {answer} of the continuation exceed the context of {n_ctx}",
                f"pair {place}",
                "give a shorter one",
            )
    batches: list[list[int]] = []
    widest = (0, 0)
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        widest = (max(widest[0], lengths[place][0]), max(widest[1], lengths[place][1]))
        if not batches or sum(widest) > n_ctx or len(batches[-1]) == PAIRS_AT_ONCE:
            batches.append([])
            widest = lengths[place]
        batches[-1].append(place)
    return batches


def check_pairs(prompts: int, continuations: int) -> None:
    """Raises UserError if there are no pairs, or a prompt or a continuation has no other half."""
    if not prompts or prompts != continuations:
        raise UserError(
            f"{prompts} prompts and {continuations} continuations make no pairs",
            "score",
            "give as many of each, or one prompt as a text",
        )


def check_continuations(continuations: Sequence[Sequence[int]], d_vocab: int) -> None:
    """Raises UserError if a continuation has no tokens, or one outside the vocabulary."""
    for place, row in enumerate(continuations):
        if not row:
            raise UserError("a continuation has no tokens", f"continuation {place}", "give at least one")
        if not 0 <= min(row) <= max(row) < d_vocab:
            raise UserError(
                f"token ids {min(row)} to {max(row)} are not all in the vocabulary",
                f"continuation {place}",
                f"use ids from 0 to {d_vocab - 1}",
            )
