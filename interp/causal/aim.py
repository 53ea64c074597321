"""What the answers to questions are attributed to: one target token a question, against one foil."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.target import Kind, Target
from interp.corpus.questions import Question
from interp.subject.read_at import normed_at_end
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks


def laid(
    subject: Subject, questions: Sequence[Question]
) -> tuple[Int[Tensor, "question pos"], Int[Tensor, "question pos"]]:
    """Tokens and attention mask of the questions' prompts."""
    return subject.pad([question.prompt for question in questions])


@torch.no_grad()
def target_of(subject: Subject, questions: Sequence[Question], kind: Kind | None = None) -> Target:
    """The target of a batch of questions, at the last token of each.

    By default the logit of the answer less that of the foil, where every question has one, else the answer's
    log-probability. Of several answers or foils, the one that the model finds likeliest.
    """
    if kind is None:
        kind = "logit_difference" if all(question.foils for question in questions) else "log_prob"
    classes = [question.answers for question in questions]
    foils = [question.foils for question in questions] if kind == "logit_difference" else []
    if all(len(ids) == 1 for ids in (*classes, *foils)):
        return Target(kind, tuple(i for (i,) in classes), tuple(i for (i,) in foils))
    normed = normed_at_end(subject, [question.prompt for question in questions])

    def measure(rows: Tensor, *classes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
        logits = subject.unembed(rows)
        return tuple(_likeliest(logits, each) for each in classes)

    asked = [classes, foils] if foils else [classes]
    chosen = [tuple(found.tolist()) for found in in_blocks(measure, subject.d_vocab, normed, *asked)]
    return Target(kind, chosen[0], chosen[1] if foils else ())


def _likeliest(
    logits: Float[Tensor, "question d_vocab"], classes: Sequence[tuple[int, ...]]
) -> Int[Tensor, " question"]:
    return torch.tensor([ids[int(row[list(ids)].argmax())] for row, ids in zip(logits, classes, strict=True)])
