"""Attribution targets of questions: one answer each, against one foil where there is one."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from interp.attribution.target import Kind, Target
from interp.corpus.questions import Question, Tokens
from interp.errors import UserError
from interp.subject.read_at import normed_at_end
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks


def padded_prompts(
    subject: Subject, questions: Sequence[Question]
) -> tuple[Int[Tensor, "question pos"], Int[Tensor, "question pos"]]:
    """Tokens and attention mask of the questions' prompts, padded on the left."""
    return subject.pad([question.prompt for question in questions])


@torch.no_grad()
def answer_target(subject: Subject, questions: Sequence[Question], kind: Kind | None = None) -> Target:
    """Makes the target of a batch of questions, after the last token of each.

    By default, if every question has a foil and all answers and foils are one token, it is the logit of the
    answer less that of the foil; otherwise the log-probability of the answer. Of several answers or foils,
    the one that the model finds likeliest is taken.

    Raises:
        UserError: a difference of logits is asked for, and an answer or a foil has several tokens.
    """
    longer = any(len(ids) > 1 for question in questions for ids in (*question.answers, *question.foils))
    if kind is None:
        paired = not longer and all(question.foils for question in questions)
        kind = "logit_difference" if paired else "log_prob"
    prompts = [question.prompt for question in questions]
    answers = _likeliest(subject, prompts, [question.answers for question in questions])
    if kind != "logit_difference":
        return Target(kind, tuple(ids[0] if len(ids) == 1 else ids for ids in answers))
    if longer:
        raise UserError(
            "a difference of logits is between single tokens, and an answer or a foil has several",
            "questions",
            "use the kind log_prob",
        )
    foils = _likeliest(subject, prompts, [question.foils for question in questions])
    return Target(kind, tuple(i for (i,) in answers), tuple(i for (i,) in foils))


def _likeliest(
    subject: Subject, prompts: Sequence[Tokens], classes: Sequence[tuple[Tokens, ...]]
) -> list[Tokens]:
    """Selects the likeliest of each prompt's answers."""
    if all(len(answers) == 1 for answers in classes):
        return [ids for (ids,) in classes]
    if all(len(ids) == 1 for answers in classes for ids in answers):

        def likeliest(normed: Tensor, own: Sequence[tuple[Tokens, ...]]) -> tuple[Tensor]:
            rows = zip(subject.unembed(normed), own, strict=True)
            return (torch.tensor([int(row[[i for (i,) in answers]].argmax()) for row, answers in rows]),)

        (best,) = in_blocks(likeliest, subject.d_vocab, normed_at_end(subject, prompts), classes)
        return [answers[place] for answers, place in zip(classes, best.tolist(), strict=True)]
    pairs = [(prompt, ids) for prompt, answers in zip(prompts, classes, strict=True) for ids in answers]
    total = subject.score([prompt for prompt, _ in pairs], [ids for _, ids in pairs]).total
    each = torch.split(total, [len(answers) for answers in classes])
    return [answers[int(own.argmax())] for own, answers in zip(each, classes, strict=True)]
