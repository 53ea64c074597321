"""Streaming: a text token by token, each with its probability, after a beginning that was computed before."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.subject.generation import Run, Step, Unembed, likeliest, log_probs_of, next_tokens
from interp.subject.unembedding import in_blocks

Crop = Callable[[Any, int], bool]
"""`Backend.crop`."""


@dataclass(frozen=True)
class TokenRead:
    """One token of a text, and what the model expected at its place, given all tokens before it.

    `log_prob` is in nats, at temperature 1; None for a text's first token, which nothing predicts.
    `alternatives` are the likeliest tokens there with their log-probabilities, best first; the token itself
    may be one of them.
    """

    token: int
    log_prob: float | None
    alternatives: tuple[tuple[int, float], ...]


@dataclass(frozen=True, eq=False)
class _Computed:
    """Tokens, the final norm's output at each, the cache of their keys and values, and how they were read.

    `reads` may be fewer than the tokens, or one more: that of a token that was written and has not been run.
    """

    tokens: tuple[int, ...] = ()
    normed: Float[Tensor, "pos d_model"] | None = None
    cache: Any = None
    reads: list[TokenRead] = field(default_factory=list)


class KeptPrefix:
    """What a subject computed of one text, for the next text that begins in the same way.

    `Subject.stream` leaves in it what its own text begins with, cuts off the rest, and adds what it computes.
    It belongs to one subject, and to one stream at a time. A pass that fails or is interrupted empties it.

    `under` says under which interventions and edits it was computed, in any way that the caller can compare;
    None is under none. Under others, make another one. Where positions are counted from the prompt's end
    ("prompt", "generated", "last", "steps", -1) or values belong to the whole prompt (`Ablate` to
    "resample", values for each position), what was computed is right after a prompt of that length, or that
    prompt, only: let `under` say it too.
    """

    def __init__(self, under: Hashable = None) -> None:
        self.under = under
        self._computed = _Computed()
        self._alternatives = 0
        self._user = object()

    def __repr__(self) -> str:
        return f"KeptPrefix({len(self.tokens)} tokens, under {self.under!r})"

    @property
    def tokens(self) -> tuple[int, ...]:
        """The ids of the tokens whose keys and values it holds."""
        return self._computed.tokens

    def cut(self, text: Sequence[int], crop: Crop) -> None:
        """Cuts it down to what a text begins with as well, but for the text's last token.

        That one is run to write on. Where the cache cannot be cut there, nothing is left.
        """
        alike = takewhile(lambda pair: pair[0] == pair[1], zip(self.tokens, text[:-1], strict=False))
        length = sum(1 for _ in alike)
        had, self._computed = self._computed, _Computed()
        if had.normed is not None and length and (length == len(had.tokens) or crop(had.cache, length)):
            self._computed = _Computed(
                had.tokens[:length], had.normed[:length], had.cache, had.reads[:length]
            )

    def step(self, run: Run) -> Step:
        """Makes a step of generation that runs the tokens which it does not hold yet, and adds them.

        Raises:
            UserError: in a step, a step that was made later has taken it over.
        """
        user = self._user = object()

        def step(tokens: Tensor, mask: Tensor) -> Tensor:
            if self._user is not user:
                raise UserError(
                    "another stream has gone on with it", "kept", "end one before the next, or keep two"
                )
            if len(self.tokens) < tokens.shape[1]:
                self._extend(tokens, mask, run)
            assert self._computed.normed is not None
            return self._computed.normed[-1:]

        return step

    def _extend(self, tokens: Int[Tensor, "1 pos"], mask: Int[Tensor, "1 pos"], run: Run) -> None:
        had, self._computed = self._computed, _Computed()
        normed, cache = run(tokens, mask, len(had.tokens), had.cache)
        whole = normed[0] if had.normed is None else torch.cat([had.normed, normed[0]])
        self._computed = _Computed(tuple(tokens[0].tolist()), whole, cache, had.reads)

    def read(self, unembed: Unembed, d_vocab: int, alternatives: int) -> list[TokenRead]:
        """Reads its tokens; unembeds for those alone that were not read with as many alternatives before."""
        tokens, normed, reads = self.tokens, self._computed.normed, self._computed.reads
        assert normed is not None
        if self._alternatives != alternatives:
            reads.clear()
            self._alternatives = alternatives
        if not reads:
            reads.append(TokenRead(tokens[0], None, ()))

        def measure(rows: Tensor, given: Tensor) -> tuple[Tensor, ...]:
            logits = unembed(rows)
            return log_probs_of(logits, given), *likeliest(logits, alternatives)

        given = torch.tensor(tokens[len(reads) :], dtype=torch.long, device=normed.device)
        reads += _reads(given, *in_blocks(measure, d_vocab, normed[len(reads) - 1 : -1], given))
        return list(reads)

    def written(self, read: TokenRead) -> None:
        """Keeps the reading of the token that was written after its own."""
        self._computed.reads.append(read)


def check_under(kept: KeptPrefix | None, changed: bool) -> None:
    """Raises UserError if the model is changed, and what is kept does not say under what it was computed."""
    if changed and kept is not None and kept.under is None:
        raise UserError(
            "it does not say under which interventions it is computed, and some are active",
            "kept",
            "make a KeptPrefix(under=...) for each set of interventions",
        )


@torch.no_grad()
def streamed(
    run: Run,
    crop: Crop,
    kept: KeptPrefix,
    unembed: Unembed,
    d_vocab: int,
    tokens: Int[Tensor, "1 pos"],
    mask: Int[Tensor, "1 pos"],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    end_ids: frozenset[int],
    alternatives: int,
) -> Iterator[TokenRead]:
    """Gives the tokens of one text, then those written after it, up to one of `end_ids` (`Subject.stream`).

    Nothing is computed until the first is taken. Wherever it is left, `kept` holds what was computed.
    """
    kept.cut(tokens[0].tolist(), crop)
    step = kept.step(run)
    step(tokens, mask)
    yield from kept.read(unembed, d_vocab, alternatives)
    measure = partial(likeliest, number=alternatives)
    for new in next_tokens(
        step, unembed, d_vocab, tokens, mask, max_new_tokens, temperature, seed, end_ids, measure
    ):
        (read,) = _reads(new.tokens, new.log_probs, *new.measures)
        kept.written(read)
        yield read


def _reads(
    tokens: Int[Tensor, " row"],
    log_probs: Float[Tensor, " row"],
    ids: Int[Tensor, "row number"],
    nats: Float[Tensor, "row number"],
) -> list[TokenRead]:
    rows = zip(tokens.tolist(), log_probs.tolist(), ids.tolist(), nats.tolist(), strict=True)
    return [TokenRead(token, own, tuple(zip(*best, strict=True))) for token, own, *best in rows]
