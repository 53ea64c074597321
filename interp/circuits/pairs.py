"""Pairs of a clean and a corrupted prompt, and the number that says how strongly the behaviour shows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from interp.attribution.pairs import pairs_in_step
from interp.attribution.passes import Prompts, laid_out, select_rows
from interp.errors import UserError
from interp.fields import Section, Text, TokenId, Word
from interp.lines import json_lines
from interp.shape import Shape
from interp.subject.forward import ForwardPass
from interp.subject.subject import Subject

Metric = Literal["logit_difference", "probability_difference", "kl"]
Words = str | Sequence[str | int]


Prompt = Annotated[Text, Field(min_length=1)]


class Pair(Section):
    """A line of a file of pairs."""

    clean: Prompt
    """The prompt that shows the behaviour."""
    corrupted: Prompt
    """The prompt that does not, of as many tokens."""
    answer: Word | Annotated[list[Word | TokenId], Field(min_length=1)]
    """What follows the clean prompt: one token, or several that are all right; in a list also token ids."""
    distractor: Word | Annotated[list[Word | TokenId], Field(min_length=1)]
    """What does not; mostly what follows the corrupted prompt."""
    group: str = ""
    """Pairs of one group (an entity, a template) stay in one split; empty for each its own."""


_PAIR = Shape[Pair](Pair)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Prompts padded on the left, with the tokens that answer each clean prompt and those that do not.

    The metric is read after a prompt's last token. `logit_difference`: the mean logit of the answers less
    that of the distractors. `probability_difference`: the sum of the answers' probabilities less that of the
    distractors' (greater-than, Hanna et al. 2023, arXiv 2305.00586). `kl`: minus the Kullback-Leibler
    divergence, in nats, of the next token's distribution from that of the clean run. Higher is always better.
    """

    clean: ForwardPass
    corrupted: ForwardPass
    answers: tuple[tuple[int, ...], ...]
    distractors: tuple[tuple[int, ...], ...]
    groups: tuple[str, ...]
    metric: Metric = "logit_difference"

    def __len__(self) -> int:
        return len(self.answers)

    @classmethod
    def of(
        cls,
        subject: Subject,
        clean: Prompts,
        corrupted: Prompts,
        answers: Sequence[Words],
        distractors: Sequence[Words],
        metric: Metric = "logit_difference",
        groups: Sequence[str] = (),
    ) -> "Pairs":
        """Makes pairs of texts or tokens; words are what continues each clean prompt, each one token.

        Raises:
            UserError: before the model runs, two prompts of a pair have different numbers of tokens or all
                are the same, an answer is several tokens or also a distractor, or the lists differ in length.
        """
        if metric not in get_args(Metric):
            raise UserError(f"{metric!r} is no metric", "metric", f"use one of {', '.join(get_args(Metric))}")
        first, second = pairs_in_step(subject, laid_out(subject, clean), laid_out(subject, corrupted))
        n = len(first.tokens)
        for name, given in (
            ("answers", answers),
            ("distractors", distractors),
            ("groups", groups or answers),
        ):
            if len(given) != n:
                raise UserError(f"{len(given)} {name} for {n} pairs", name, "give one for each pair")
        if bool((first.tokens == second.tokens).all()):
            raise UserError(
                "every corrupted prompt is its clean one, so nothing can differ",
                "pairs",
                "corrupt what the behaviour depends on",
            )
        prompts = [tokens[real].tolist() for tokens, real in zip(first.tokens, first.real, strict=True)]
        right, wrong = (
            tuple(_ids(subject, prompt, words, f"{place} {row + 1}") for row, (prompt, words) in
                  enumerate(zip(prompts, given, strict=True)))
            for place, given in (("answer of pair", answers), ("distractor of pair", distractors))
        )  # fmt: skip
        for row, both in enumerate(zip(right, wrong, strict=True)):
            if shared := {*both[0]} & {*both[1]}:
                raise UserError(
                    f"{subject.decode([min(shared)])!r} is both an answer and a distractor",
                    f"pair {row + 1}",
                    "name words that differ in their first token",
                )
        named = tuple(group or f"pair {row + 1}" for row, group in enumerate(groups or [""] * n))
        return cls(first, second, right, wrong, named, metric)

    @classmethod
    def of_lines(
        cls, subject: Subject, given: Iterable[Pair], metric: Metric = "logit_difference"
    ) -> "Pairs":
        """Makes pairs of the lines of a file (`read_pairs`) or of a bundled behaviour."""
        listed = list(given)
        if not listed:
            raise UserError("there is no pair", "pairs", "give at least one")
        return cls.of(
            subject,
            [one.clean for one in listed],
            [one.corrupted for one in listed],
            [one.answer for one in listed],
            [one.distractor for one in listed],
            metric,
            [one.group for one in listed],
        )

    def select(self, rows: Sequence[int] | Int[np.ndarray, " row"]) -> "Pairs":
        """Selects pairs by row."""
        listed = [int(row) for row in rows]
        index = torch.tensor(listed, dtype=torch.long, device=self.clean.tokens.device)
        return replace(
            self,
            clean=select_rows(self.clean, index),
            corrupted=select_rows(self.corrupted, index),
            answers=tuple(self.answers[row] for row in listed),
            distractors=tuple(self.distractors[row] for row in listed),
            groups=tuple(self.groups[row] for row in listed),
        )

    def batches(self, rows_at_once: int) -> list["Pairs"]:
        """Cuts the pairs into batches of at most so many."""
        return [
            self.select(range(first, min(first + rows_at_once, len(self))))
            for first in range(0, len(self), rows_at_once)
        ]

    def resampled(self, seed: int) -> "Pairs":
        """Pairs whose corrupted prompts are other pairs' clean ones, of the same length, drawn by a seed.

        Raises:
            UserError: a clean prompt is the only one of its length.
        """
        lengths = self.clean.prompt_lengths().cpu().numpy()
        rng, others = np.random.default_rng(seed), np.arange(len(self))
        for length in np.unique(lengths):
            rows = rng.permutation(np.flatnonzero(lengths == length))
            if len(rows) == 1:
                raise UserError(
                    f"no other prompt has {length} tokens", f"pair {rows[0] + 1}", "give pairs of one length"
                )
            others[rows] = np.roll(rows, 1)
        index = torch.from_numpy(others).to(self.clean.tokens.device)
        return replace(self, corrupted=select_rows(self.clean, index))

    def check_one_length(self, place: str, fix: str) -> None:
        """Raises UserError unless all prompts have the same number of tokens, so that positions are alike."""
        if not bool(self.clean.real.all()):
            lengths = self.clean.prompt_lengths()
            raise UserError(
                f"the pairs have {int(lengths.min())} to {int(lengths.max())} tokens, so positions differ",
                place,
                f"{fix}, or give pairs of one length",
            )

    def value(
        self,
        logits: Float[Tensor, "batch d_vocab"],
        clean_logits: Float[Tensor, "batch d_vocab"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """Computes the metric of logits after each prompt; `kl` needs those of the clean run."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.metric == "kl":
            assert clean_logits is not None
            reference = clean_logits.to(wide.dtype).log_softmax(-1)
            return (reference.exp() * (wide.log_softmax(-1) - reference)).sum(-1)
        if self.metric == "probability_difference":
            wide = wide.softmax(-1)
        right, wrong = (self._of(wide, ids) for ids in (self.answers, self.distractors))
        return right - wrong

    def _of(self, values: Float[Tensor, "batch d_vocab"], ids: tuple[tuple[int, ...], ...]) -> Tensor:
        """Sums probabilities, or averages logits, over each row's tokens."""
        longest = max(map(len, ids))
        padded = torch.tensor([[*one, *[0] * (longest - len(one))] for one in ids], device=values.device)
        counts = torch.tensor([[len(one)] for one in ids], device=values.device)
        kept = torch.arange(longest, device=values.device) < counts
        found = (values.gather(1, padded) * kept).sum(1)
        return found if self.metric == "probability_difference" else found / counts[:, 0]


def read_pairs(path: Path) -> list[Pair]:
    """Reads a file of JSON lines, each a `Pair`.

    Raises:
        UserError: the file cannot be read, has no pair, or a line is none (says which).
    """
    fix = 'write {"clean": "...", "corrupted": "...", "answer": "...", "distractor": "..."} on each line'
    found = [_PAIR.of(values, place, fix) for values, place in json_lines(path, fix)]
    if not found:
        raise UserError("there is no pair in it", str(path), fix)
    return found


def _ids(subject: Subject, prompt: list[int], words: Words, place: str) -> tuple[int, ...]:
    listed = [words] if isinstance(words, str) else list(words)
    if not listed:
        raise UserError("no word is named", place, "name one")
    return tuple(dict.fromkeys(subject.continuation(prompt, word, place).token(place) for word in listed))
