"""Generation: one token after another, for several prompts at once."""

import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.subject.backend import Backend
from interp.subject.forward import ForwardPass
from interp.subject.text import Text
from interp.subject.unembedding import in_blocks, kept_back

Step = Callable[[Tensor, Tensor], Tensor]
"""From all tokens and their mask [batch, seen] to the final norm's output at the last [batch, d_model]."""
Unembed = Callable[[Tensor], Tensor]
"""From the final norm's output to logits [batch, d_vocab]."""
Passing = Callable[[ForwardPass, Callable[[], Any]], Any]
"""Runs a computation while interventions know its pass, and returns its result."""


class Written(NamedTuple):
    """The new tokens of one prompt, and the log-probability of each, in nats."""

    ids: list[int]
    log_probs: list[float]


class Generated(str):
    """Generated text: a string, which also says how likely each of its tokens was.

    `prompt` and `tokens` are ids. `log_probs` are in nats, of each token given all before it, as the model
    was while it wrote, interventions included: those of the logits themselves, at temperature 1, whatever
    temperature the token was drawn at (`Subject.score` gives the same). In a notebook each token is
    coloured by its probability, after the prompt in grey. A slice of it is a plain string, and so
    is `str` of it (for YAML, which takes no other).
    """

    prompt: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    _strings: Sequence[str] = ()
    _special_ids: frozenset[int] = frozenset()

    @classmethod
    def of(cls, text: Text, prompt: Sequence[int], written: Written) -> "Generated":
        """Decodes what was written after a prompt."""
        made = cls(text.decode(written.ids))
        made.prompt, made.tokens, made.log_probs = tuple(prompt), tuple(written.ids), tuple(written.log_probs)
        made._strings = text.strings([*prompt, *written.ids])
        made._special_ids = text.special_ids
        return made

    def _repr_html_(self) -> str:
        from interp.render.tokens import HeatScale, TokenView, TokenWindow  # a third of the subject's import

        values = [math.nan] * len(self.prompt) + [math.exp(one) for one in self.log_probs]
        window = TokenWindow(self._strings, values, (*self.prompt, *self.tokens))
        scale = HeatScale(1.0)
        return TokenView([window], scale, self._special_ids, None, "probability of each token")._repr_html_()


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
) -> list[Written]:
    """Generates the new tokens of each row, up to but without the first of `end_ids`.

    Only the last token of each row is unembedded. Greedy at temperature 0; otherwise row `i` is sampled with
    numbers drawn from `seed + i` alone, so that a row does not depend on the others in its batch.
    """

    def likeliest(normed: Tensor) -> tuple[Tensor, Tensor]:
        logits = unembed(normed)
        new = logits.argmax(-1)
        return new, _log_probs(logits, new)

    def sampled(normed: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        logits = unembed(normed)
        new = _sampled(logits.float() / temperature, uniform)
        return new, _log_probs(logits, new)

    start, done = tokens.shape[1], torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    drawn = _uniform(len(tokens), max_new_tokens, seed).to(tokens.device) if temperature > 0 else None
    ends = torch.tensor(sorted(end_ids), dtype=torch.long, device=tokens.device)
    log_probs: list[Tensor] = []
    for number in range(max_new_tokens):
        normed = step(tokens, mask)
        if drawn is None:
            new, found = in_blocks(likeliest, d_vocab, normed)
        else:
            new, found = in_blocks(sampled, d_vocab, normed, drawn[:, number])
        if end_ids:
            done |= torch.isin(new, ends)
            new = new.where(~done, ends[0])
            if bool(done.all()):
                break
        log_probs.append(found)
        tokens = torch.cat([tokens, new[:, None]], 1)
        mask = torch.cat([mask, torch.ones_like(new)[:, None]], 1)
    rows: list[list[int]] = tokens[:, start:].tolist()
    known: list[list[float]] = torch.stack(log_probs, 1).tolist() if log_probs else [[] for _ in rows]
    ids = [list(takewhile(lambda token: token not in end_ids, row)) for row in rows]
    return [Written(row, found[: len(row)]) for row, found in zip(ids, known, strict=True)]


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


def _log_probs(logits: Float[Tensor, "batch d_vocab"], ids: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The log-probability of one token in each row of logits; taken relative to it, it is never above 0."""
    wide = logits.float()
    return -(wide - wide.gather(-1, ids[:, None])).logsumexp(-1)
