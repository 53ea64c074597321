"""The intervention score: does the description fit what the model writes with the feature clamped high?

A description of what a feature reads may say nothing of what it writes; this is about the latter. After the
"ablation" and steering scores that are proposed for descriptions (Bills et al. 2023, section "Ablation
scoring"; Paulo et al. 2024, arXiv:2410.13928, section on causal scores), with the same judge as detection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from interp.descriptions.candidate import Candidate, Judge, Shown
from interp.descriptions.evidence import Window
from interp.descriptions.excerpt import Excerpt, pieces
from interp.descriptions.scorers.judged import JudgedScore, judged
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import Polarity, writable
from interp.features.statistics import FeatureStatistics
from interp.intervene import AtQuantile, Clamp
from interp.subject.subject import Subject

PROMPT_TOKENS = 8


@dataclass(frozen=True)
class Continuations:
    """Continuations of the same prompts: feature clamped high, unchanged, and a random feature clamped.

    `changed` is the share of prompts whose continuation is another one when the feature is held.
    """

    held: tuple[Shown, ...]
    free: tuple[Shown, ...]
    control: tuple[Shown, ...]
    changed: float


@dataclass(frozen=True)
class InterventionScore:
    """AUROC and accuracy of clamped against free continuations; `control`: for the random feature."""

    score: JudgedScore
    control: JudgedScore
    changed: float


class Continuer:
    """Continues the same prompts with one feature after the other clamped; unchanged only once."""

    def __init__(self, subject: Subject, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
        """`prompts` are token ids, without a BOS."""
        self._subject = subject
        self._tokens, self._mask = subject.pad(prompts)
        self._new_tokens = new_tokens
        self._free = self._write()

    @classmethod
    def of_excerpts(cls, subject: Subject, excerpts: Sequence[Excerpt], new_tokens: int) -> "Continuer":
        """Takes the first tokens of some excerpts as prompts."""
        rows = [one.window.tokens[:PROMPT_TOKENS].tolist() for one in excerpts]
        return cls(subject, [row for row in rows if row], new_tokens)

    def continued(
        self, feature: FeatureRef, statistics: FeatureStatistics, strength: float | int, seed: int = 0
    ) -> Continuations | None:
        """Writes continuations with the feature at `strength` times its outer quantile; None if that is 0.

        The control is another feature of the space, drawn at random, that is held at a value which adds a
        vector of the same length to the residual stream; a space of one feature has none but the free text.
        """
        space, ids = writable(feature.space), torch.tensor([feature.feature_id])
        side: Polarity = 1 if feature.polarity > 0 else -1
        try:
            value = float(AtQuantile(strength).values(space, ids, [side], statistics))
        except UserError:
            return None
        rng = np.random.default_rng([seed, feature.feature_id])
        other = int((feature.feature_id + rng.integers(1, max(2, space.n_features))) % space.n_features)
        lengths = space.decoder(torch.tensor([feature.feature_id, other])).float().norm(dim=-1)
        same_length = abs(value) * float(lengths[0] / lengths[1].clamp(min=1e-12))
        held = self._write(Clamp(space, feature.feature_id, value, "all", polarities=side))
        has_other = other != feature.feature_id
        control = self._write(Clamp(space, other, same_length, "all")) if has_other else self._free
        changed = float(np.mean([a != b for a, b in zip(held, self._free, strict=True)]))
        return Continuations(self._shown(held), self._shown(self._free), self._shown(control), changed)

    def _write(self, *clamps: Clamp) -> list[list[int]]:
        with self._subject.intervene(*clamps):
            return self._subject.generate_ids(self._tokens, self._mask, self._new_tokens)

    def _shown(self, rows: Sequence[Sequence[int]]) -> tuple[Shown, ...]:
        found = []
        for number, row in enumerate(rows):
            tokens = np.array(row, dtype=np.int64)
            window = Window(
                tokens, np.zeros(len(row), dtype=np.float32), -1 - number, np.ones(len(row), dtype=np.bool_)
            )
            found.append(Shown(Excerpt(window, pieces(self._subject, tokens))))
        return tuple(found)


async def intervention(
    judge: Judge,
    candidate: Candidate,
    texts: Continuations,
    nulls: Sequence[Candidate] = (),
    seed: int = 0,
) -> InterventionScore:
    """Does the description fit what is written with the feature held, rather than without?

    `nulls` are descriptions of other features, judged on the same texts.
    """
    return InterventionScore(
        await judged(judge, candidate, texts.held, texts.free, nulls, seed, paired=True),
        await judged(judge, candidate, texts.control, texts.free, (), seed, paired=True),
        texts.changed,
    )
