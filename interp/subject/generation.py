"""Generation: one token after another, for several prompts at once."""

from collections.abc import Callable
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.subject.backend import Backend
from interp.subject.forward import ForwardPass
from interp.subject.unembedding import in_blocks, kept_back

Step = Callable[[Tensor, Tensor], Tensor]
"""From all tokens and their mask [batch, seen] to the final norm's output at the last [batch, d_model]."""
Unembed = Callable[[Tensor], Tensor]
"""From the final norm's output to logits [batch, d_vocab]."""
Passing = Callable[[ForwardPass, Callable[[], Any]], Any]
"""Runs a computation while interventions know its pass, and returns its result."""


def cached_step(backend: Backend, passing: Passing, prompt_length: int) -> Step:
    """Makes a step that computes only the new tokens, after cached keys and values of the others."""
    cache: Any = None
    seen = 0

    def step(tokens: Tensor, mask: Tensor) -> Tensor:
        nonlocal cache, seen
        forward = ForwardPass(tokens, mask.bool(), seen, prompt_length)
        new = tokens[:, seen:]
        normed, (_, cache) = passing(
            forward, lambda: kept_back(backend, lambda: backend.extend(new, mask, cache))
        )
        seen = tokens.shape[1]
        last: Tensor = normed[:, -1]
        return last

    return step


def whole_step(backend: Backend, passing: Passing, prompt_length: int) -> Step:
    """Makes a step without a cache, which computes all tokens anew."""

    def step(tokens: Tensor, mask: Tensor) -> Tensor:
        forward = ForwardPass(tokens, mask.bool(), 0, prompt_length)
        normed, _ = passing(forward, lambda: kept_back(backend, lambda: backend.forward(tokens, mask)))
        last: Tensor = normed[:, -1]
        return last

    return step


def continuations(
    step: Step,
    unembed: Unembed,
    d_vocab: int,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    end_ids: frozenset[int],
) -> list[list[int]]:
    """Generates the new tokens of each row, up to but without the first of `end_ids`.

    Only the last token of each row is unembedded. Greedy at temperature 0; otherwise row `i` is sampled with
    numbers drawn from `seed + i` alone, so that a row does not depend on the others in its batch.
    """

    def likeliest(normed: Tensor) -> tuple[Tensor]:
        return (unembed(normed).argmax(-1),)

    def sampled(normed: Tensor, uniform: Tensor) -> tuple[Tensor]:
        return (_sampled(unembed(normed).float() / temperature, uniform),)

    start, done = tokens.shape[1], torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    drawn = _uniform(len(tokens), max_new_tokens, seed).to(tokens.device) if temperature > 0 else None
    ends = torch.tensor(sorted(end_ids), dtype=torch.long, device=tokens.device)
    for number in range(max_new_tokens):
        normed = step(tokens, mask)
        if drawn is None:
            (new,) = in_blocks(likeliest, d_vocab, normed)
        else:
            (new,) = in_blocks(sampled, d_vocab, normed, drawn[:, number])
        if end_ids:
            done |= torch.isin(new, ends)
            new = new.where(~done, ends[0])
            if bool(done.all()):
                break
        tokens = torch.cat([tokens, new[:, None]], 1)
        mask = torch.cat([mask, torch.ones_like(new)[:, None]], 1)
    rows: list[list[int]] = tokens[:, start:].tolist()
    return [list(takewhile(lambda token: token not in end_ids, row)) for row in rows]


def _uniform(n_rows: int, n_steps: int, seed: int) -> Float[Tensor, "batch step"]:
    rows = [
        torch.rand(n_steps, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + row))
        for row in range(n_rows)
    ]
    return torch.stack(rows)


def _sampled(
    logits: Float[Tensor, "batch d_vocab"], uniform: Float[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """Samples by the inverse of the cumulative distribution at a uniform number, in double precision."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    below = cumulative < uniform[:, None] * cumulative[:, -1:]
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)
