"""What a subject answers to questions, under whatever interventions are active."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.corpus.questions import Question
from interp.errors import UserError
from interp.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Outcome:
    """One entry for each question.

    `answer` and `foil` are the probabilities of the tokens that count and of those that would be wrong (NaN
    without foils), `top` is the likeliest token, `right` whether it counts. `prefers_foil` says whether the
    foils are likelier than the answers.
    """

    answer: Float[np.ndarray, " question"]
    foil: Float[np.ndarray, " question"]
    top: Int[np.ndarray, " question"]
    right: Bool[np.ndarray, " question"]

    @property
    def prefers_foil(self) -> Bool[np.ndarray, " question"]:
        """Whether the foils are likelier than the answers; false without foils."""
        return self.foil > self.answer

    def frame(self, questions: Sequence[Question], **names: str | float | int) -> pd.DataFrame:
        """A row for each question: `names` in every row, then its number, group, and what came out."""
        return pd.DataFrame(
            {
                **names,
                "question": np.arange(len(questions)),
                "group": [question.group for question in questions],
                "answer": self.answer,
                "foil": self.foil,
                "right": self.right,
                "flips": self.prefers_foil,
            }
        )


def ask(subject: Subject, questions: Sequence[Question], prompts_per_batch: int = 128) -> Outcome:
    """The answers to all questions, in their order; prompts of like length share a batch."""
    answer, foil = np.full(len(questions), np.nan), np.full(len(questions), np.nan)
    top = np.zeros(len(questions), dtype=np.int64)
    prompts = [question.prompt for question in questions]
    for places, logits in last_logits(subject, prompts, prompts_per_batch):
        asked = [questions[place] for place in places]
        probability = logits.double().softmax(-1)
        top[places] = logits.argmax(-1).numpy()
        answer[places] = _mass(probability, [question.answers for question in asked])
        foil[places] = _mass(probability, [question.foils for question in asked])
    right = np.array([t in question.answers for t, question in zip(top, questions, strict=True)], dtype=bool)
    return Outcome(answer, foil, top, right)


@torch.no_grad()
def last_logits(
    subject: Subject, prompts: Sequence[Sequence[int]], prompts_per_batch: int = 128
) -> Iterator[tuple[list[int], Float[Tensor, "prompt d_vocab"]]]:
    """The logits after the last token of every prompt, with the places of these prompts, batch by batch.

    Prompts (token ids, no beginning-of-sequence token) of like length share a batch.
    """
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for start in range(0, len(order), prompts_per_batch):
        places = order[start : start + prompts_per_batch]
        tokens, mask = subject.pad([prompts[place] for place in places])
        last = torch.full((len(tokens),), tokens.shape[1] - 1)
        yield places, subject.logits_at(tokens, last, mask).cpu()


def _mass(
    probability: Float[Tensor, "question d_vocab"], classes: Sequence[tuple[int, ...]]
) -> Float[np.ndarray, " question"]:
    """The probability of each question's tokens together; NaN where it has none."""
    chosen = torch.zeros_like(probability, dtype=torch.bool)
    for row, ids in enumerate(classes):
        chosen[row, list(ids)] = True
    mass = (probability * chosen).sum(-1)
    return torch.where(chosen.any(-1), mass, torch.nan).numpy()


def halves(questions: Sequence[Question], seed: int) -> tuple[list[Question], list[Question]]:
    """Two halves of every group, drawn at random: one to choose on, one to report on.

    Questions with the same prompt fall into the same half.

    Raises:
        UserError: there are too few to fill both.
    """
    rng = np.random.default_rng(seed)
    first: set[tuple[int, ...]] = set()
    for group in dict.fromkeys(question.group for question in questions):
        prompts = list(dict.fromkeys(q.prompt for q in questions if q.group == group))
        first.update(prompts[place] for place in rng.permutation(len(prompts))[::2])
    halved = [q for q in questions if q.prompt in first], [q for q in questions if q.prompt not in first]
    if not all(halved):
        raise UserError("there are too few questions", "questions", "give at least two of each group")
    return halved
