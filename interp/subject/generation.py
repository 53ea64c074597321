"""Generation: one token after another, for several prompts at once."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.subject.backend import Backend
from interp.subject.forward import ForwardPass
from interp.subject.text import Text
from interp.subject.unembedding import Measure, in_blocks, kept_back

Number = float | int
Step = Callable[[Tensor, Tensor], Tensor]
"""From all tokens and their mask [batch, seen] to the final norm's output at the last [batch, d_model]."""
Run = Callable[[Tensor, Tensor, int, Any], tuple[Tensor, Any]]
"""From all tokens, their mask, the number of columns that a cache holds, and that cache, to the final norm's
output at the columns after those [batch, new, d_model], and the cache of all."""
Unembed = Callable[[Tensor], Tensor]
"""From the final norm's output to logits [batch, d_vocab]."""
Passing = Callable[[ForwardPass, Callable[[], Any]], Any]
"""Runs a computation while interventions know its pass, and returns its result."""


class Written(NamedTuple):
    """The new tokens of one prompt, and the log-probability of each, in nats.

    `end` is the token that ended it and `end_log_prob` its log-probability; None and 0 if it was cut short.
    """

    ids: list[int]
    log_probs: list[float]
    end: int | None = None
    end_log_prob: Number = 0.0


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


def cached_run(backend: Backend, passing: Passing, prompt_length: int) -> Run:
    """Makes a run that computes only the new columns, after cached keys and values of the others."""

    def run(tokens: Tensor, mask: Tensor, start: int, cache: Any) -> tuple[Tensor, Any]:
        forward = ForwardPass(tokens, mask.bool(), start, prompt_length)
        new = tokens[:, start:]
        normed, (_, longer) = passing(
            forward, lambda: kept_back(backend, lambda: backend.extend(new, mask, cache))
        )
        return normed, longer

    return run


def whole_run(backend: Backend, passing: Passing, prompt_length: int) -> Run:
    """Makes a run without a cache, which computes all columns anew."""

    def run(tokens: Tensor, mask: Tensor, start: int, cache: Any) -> tuple[Tensor, Any]:
        forward = ForwardPass(tokens, mask.bool(), 0, prompt_length)
        normed, _ = passing(forward, lambda: kept_back(backend, lambda: backend.forward(tokens, mask)))
        return normed[:, start:], None

    return run


def stepwise(run: Run) -> Step:
    """Makes a step that runs the columns which have come since the step before."""
    cache: Any = None
    seen = 0

    def step(tokens: Tensor, mask: Tensor) -> Tensor:
        nonlocal cache, seen
        normed, cache = run(tokens, mask, seen, cache)
        seen = tokens.shape[1]
        return normed[:, -1]

    return step


class NextTokens(NamedTuple):
    """The next token of each row [batch], its log-probability in nats, and other measures of its logits."""

    tokens: Int[Tensor, " batch"]
    log_probs: Float[Tensor, " batch"]
    measures: tuple[Tensor, ...]


def next_tokens(
    step: Step,
    unembed: Unembed,
    d_vocab: int,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    end_ids: frozenset[int],
    measure: Measure = lambda logits: (),
) -> Iterator[NextTokens]:
    """Generates the next token of every row, step after step, until each has had one of `end_ids`.

    What is given for a row after the first of its `end_ids` means nothing. Only the last token of each row is
    unembedded; `measure` maps those logits [row, d_vocab] to what else is wanted of them. Greedy at
    temperature 0; otherwise row `i` is sampled with numbers drawn from `seed + i` alone, so that a row does
    not depend on the others in its batch.
    """

    def chosen(normed: Tensor, *uniform: Tensor) -> tuple[Tensor, ...]:
        logits = unembed(normed)
        new = _sampled(logits.float() / temperature, *uniform) if uniform else logits.argmax(-1)
        return new, log_probs_of(logits, new), *measure(logits)

    done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    drawn = _uniform(len(tokens), max_new_tokens, seed).to(tokens.device) if temperature > 0 else None
    ends = torch.tensor(sorted(end_ids), dtype=torch.long, device=tokens.device)
    for number in range(max_new_tokens):
        uniform = () if drawn is None else (drawn[:, number],)
        new, log_probs, *measures = in_blocks(chosen, d_vocab, step(tokens, mask), *uniform)
        yield NextTokens(new, log_probs, tuple(measures))
        if end_ids:
            done |= torch.isin(new, ends)
            if bool(done.all()):
                return
            new = new.where(~done, ends[0])
        tokens = torch.cat([tokens, new[:, None]], 1)
        mask = torch.cat([mask, torch.ones_like(new)[:, None]], 1)


def continuations(steps: Iterable[NextTokens], n_rows: int, end_ids: frozenset[int]) -> list[Written]:
    """Collects each row's new tokens up to the first of `end_ids`, which is its `end` (`next_tokens`)."""
    taken = list(steps)
    if not taken:
        return [Written([], []) for _ in range(n_rows)]
    written: list[list[int]] = torch.stack([each.tokens for each in taken], 1).tolist()
    known: list[list[float]] = torch.stack([each.log_probs for each in taken], 1).tolist()
    return [_ended(row, found, end_ids) for row, found in zip(written, known, strict=True)]


def _ended(ids: list[int], log_probs: list[float], end_ids: frozenset[int]) -> Written:
    length = len(list(takewhile(lambda token: token not in end_ids, ids)))
    end = (ids[length], log_probs[length]) if length < len(ids) else (None, 0.0)
    return Written(ids[:length], log_probs[:length], *end)


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


def log_probs_of(
    logits: Float[Tensor, "batch d_vocab"], ids: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """The log-probability of one token in each row of logits; taken relative to it, it is never above 0."""
    wide = logits.float()
    return -(wide - wide.gather(-1, ids[:, None])).logsumexp(-1)


def likeliest(
    logits: Float[Tensor, "batch d_vocab"], number: int
) -> tuple[Int[Tensor, "batch number"], Float[Tensor, "batch number"]]:
    """The likeliest tokens of each row, best first, and their log-probabilities in nats."""
    best = logits.float().log_softmax(-1).topk(min(number, logits.shape[-1]))
    return best.indices, best.values
