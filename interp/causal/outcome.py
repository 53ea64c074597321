"""What a subject answers to questions, under whatever interventions are active."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import expit
from torch import Tensor

from interp.corpus.questions import Question, Tokens
from interp.statistics.splits import split_halves
from interp.subject.read_at import normed_at_end
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a subject answers; one entry for each question.

    `log_answer` and `log_foil` are the log-probabilities in nats of all right answers together, and of all
    foils, which are wrong (NaN without foils); an answer of several tokens counts as a whole. `top` is the
    likeliest token, `right` whether an answer is what the subject would write, `wrong` whether a foil is; of
    a multiple choice, which of the two is likelier (by more than after the opposite prompt, if there is one).
    """

    log_answer: Float[np.ndarray, " question"]
    log_foil: Float[np.ndarray, " question"]
    top: Int[np.ndarray, " question"]
    right: Bool[np.ndarray, " question"]
    wrong: Bool[np.ndarray, " question"]

    @property
    def answer(self) -> Float[np.ndarray, " question"]:
        """The probability of the answers."""
        probability: Float[np.ndarray, " question"] = np.exp(self.log_answer)
        return probability

    @property
    def foil(self) -> Float[np.ndarray, " question"]:
        """The probability of the foils; NaN without any."""
        probability: Float[np.ndarray, " question"] = np.exp(self.log_foil)
        return probability

    @property
    def preference(self) -> Float[np.ndarray, " question"]:
        """answer / (answer + foil), however small both are; NaN without foils."""
        share: Float[np.ndarray, " question"] = expit(self.log_answer - self.log_foil)
        return share

    @property
    def prefers_foil(self) -> Bool[np.ndarray, " question"]:
        """Whether the foils are likelier than the answers; false without foils."""
        return self.log_foil > self.log_answer

    def frame(self, questions: Sequence[Question], **names: str | float | int) -> pd.DataFrame:
        """Makes a row for each question: `names` in every row, its number, its group, and the entries."""
        return pd.DataFrame(
            {
                **names,
                "question": np.arange(len(questions)),
                "group": [question.group for question in questions],
                "answer": self.answer,
                "foil": self.foil,
                "preference": self.preference,
                "right": self.right,
                "flips": self.prefers_foil,
            }
        )


def ask(subject: Subject, questions: Sequence[Question], prompts_per_batch: int = 128) -> Outcome:
    """Asks all questions; entries are in their order. Prompts of similar length share a batch.

    Answers of one token come from one pass over the prompts, longer ones are scored (`Subject.score`).
    """
    prompts = [question.prompt for question in questions]
    sides = [[question.answers for question in questions], [question.foils for question in questions]]

    def measure(normed: Tensor, *sides: Sequence[tuple[Tokens, ...]]) -> tuple[Tensor, ...]:
        logits = subject.unembed(normed).cpu()
        probability = logits.double().softmax(-1)
        return logits.argmax(-1), *(_mass(probability, classes) for classes in sides)

    normed = normed_at_end(subject, prompts, prompts_per_batch)
    top, *masses = (each.numpy() for each in in_blocks(measure, subject.d_vocab, normed, *sides))
    (answer, right), (foil, wrong) = (
        _whole(subject, prompts, answers, mass, top) for answers, mass in zip(sides, masses, strict=True)
    )
    choice = np.array([question.choice for question in questions], dtype=bool)
    with np.errstate(invalid="ignore"):  # both impossible, which is neither
        margin = answer - foil
    if opposed := [place for place, question in enumerate(questions) if question.against]:
        turned = [replace(questions[i], prompt=questions[i].against, against=()) for i in opposed]
        opposite = ask(subject, turned, prompts_per_batch)
        margin[opposed] -= opposite.log_answer - opposite.log_foil
    right, wrong = np.where(choice, margin > 0, right), np.where(choice, margin < 0, wrong)
    return Outcome(answer, foil, top, right, wrong)


def _whole(
    subject: Subject,
    prompts: Sequence[Tokens],
    classes: Sequence[tuple[Tokens, ...]],
    mass: Float[np.ndarray, " question"],
    top: Int[np.ndarray, " question"],
) -> tuple[Float[np.ndarray, " question"], Bool[np.ndarray, " question"]]:
    """The log-probability of each question's answers, and whether greedy generation would give one of them.

    `mass` is the probability of those of one token, `top` the likeliest token.
    """
    with np.errstate(divide="ignore"):
        log = np.log(mass)
    written = np.array([(token,) in answers for token, answers in zip(top, classes, strict=True)], dtype=bool)
    longer = [(place, ids) for place, answers in enumerate(classes) for ids in answers if len(ids) > 1]
    if longer:
        places = np.array([place for place, _ in longer])
        scores = subject.score([prompts[place] for place in places], [ids for _, ids in longer])
        np.logaddexp.at(log, places, scores.total.numpy())
        np.logical_or.at(written, places, scores.greedy.numpy())
    log[[not answers for answers in classes]] = np.nan
    return log, written


def _mass(
    probability: Float[Tensor, "question d_vocab"], classes: Sequence[tuple[Tokens, ...]]
) -> Float[Tensor, " question"]:
    """The probability of each question's answers of one token together."""
    chosen = torch.zeros_like(probability, dtype=torch.bool)
    for row, answers in enumerate(classes):
        chosen[row, [ids[0] for ids in answers if len(ids) == 1]] = True
    mass: Tensor = (probability * chosen).sum(-1)
    return mass


def halves(questions: Sequence[Question], seed: int) -> tuple[list[Question], list[Question]]:
    """Draws two halves of every group: one to choose on, one to report on.

    Questions with the same prompt fall into the same half.

    Raises:
        UserError: there are too few to fill both.
    """
    groups, prompts = [question.group for question in questions], [question.prompt for question in questions]
    first, second = split_halves(groups, seed, prompts, larger_first=True)
    return [questions[place] for place in first], [questions[place] for place in second]
