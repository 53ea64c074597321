"""How far a model tells the two prompts of a pair apart, from its logits alone."""

from typing import Any, NamedTuple

import numpy as np
import torch

from interp.circuits.pairs import Pairs
from interp.statistics.estimate import Estimate, by_item, mean_interval, share_interval
from interp.subject import Subject


class Told(NamedTuple):
    """Differences of mean logits, answer less distractor, after the clean and the corrupted prompts."""

    clean: np.ndarray
    corrupted: np.ndarray
    groups: np.ndarray

    def shares(self) -> tuple[Estimate, Estimate]:
        """Shares of clean prompts that prefer the answer, of corrupted ones that prefer the distractor."""
        n = len(self.clean)
        right, turned = int((self.clean > 0).sum()), int((self.corrupted < 0).sum())
        return share_interval(right, n), share_interval(turned, n)

    def means(self) -> tuple[Estimate, Estimate]:
        """Mean differences, with intervals over groups."""
        clean, corrupted = (mean_interval(by_item(each, self.groups), 0) for each in self[:2])
        return clean, corrupted


def opened(subject: Subject, rows: list[dict[str, Any]]) -> Pairs:
    """Raises UserError where prompts are not of one length, or a word is not one token."""
    clean, corrupted, answers, distractors, groups = (
        [row[key] for row in rows] for key in ("clean", "corrupted", "answer", "distractor", "group")
    )
    return Pairs.of(subject, clean, corrupted, answers, distractors, groups=groups)


@torch.no_grad()
def told(subject: Subject, rows: list[dict[str, Any]]) -> Told:
    """Runs all prompts, 64 at once."""
    found: tuple[list[float], list[float]] = ([], [])
    for batch in opened(subject, rows).batches(64):
        for side, differences in zip((batch.clean, batch.corrupted), found, strict=True):
            ran = subject.run(side.tokens, attention_mask=side.real.long(), logits="last")
            logits = ran.logits[:, -1].numpy()
            for row, right, wrong in zip(logits, batch.answers, batch.distractors, strict=True):
                differences.append(float(row[list(right)].mean() - row[list(wrong)].mean()))
    clean, corrupted = map(np.array, found)
    return Told(clean, corrupted, np.array([row["group"] for row in rows]))
