"""What a subject answers to questions, under whatever interventions are active."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.corpus.questions import Question
from interp.errors import UserError
from interp.subject.read_at import normed_at_end
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks


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
    prompts = [question.prompt for question in questions]

    def measure(normed: Tensor, *classes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
        logits = subject.unembed(normed).cpu()
        probability = logits.double().softmax(-1)
        return logits.argmax(-1), *(class_mass(probability, each) for each in classes)

    normed = normed_at_end(subject, prompts, prompts_per_batch)
    answers, foils = [question.answers for question in questions], [question.foils for question in questions]
    measured = in_blocks(measure, subject.d_vocab, normed, answers, foils)
    top, answer, foil = (each.cpu().numpy() for each in measured)
    right = np.array([t in question.answers for t, question in zip(top, questions, strict=True)], dtype=bool)
    return Outcome(answer, foil, top, right)


def class_mass(
    probability: Float[Tensor, "question d_vocab"], classes: Sequence[tuple[int, ...]]
) -> Float[Tensor, " question"]:
    """The probability of each question's tokens together; NaN where it has none."""
    chosen = torch.zeros_like(probability, dtype=torch.bool)
    for row, ids in enumerate(classes):
        chosen[row, list(ids)] = True
    mass = (probability * chosen).sum(-1)
    return torch.where(chosen.any(-1), mass, torch.nan)


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
