"""Task vectors: the activation at the last token of examples, put into a prompt without examples.

Hendel et al. 2023, "In-Context Learning Creates Task Vectors" (arXiv 2310.15916).
"""

from collections.abc import Sequence

from interp.corpus.questions import Question
from interp.subject.read_at import read_at
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.vectors.vector import Vector

Tokens = Sequence[int]


def task_vectors(subject: Subject, prompts: Sequence[Tokens], name: str) -> list[Vector]:
    """Averages `resid_post` at the end of examples and a dummy question, over prompts; one vector a layer.

    The dummy question is never one that the vector is used on. The vector replaces the activation at the last
    token. The paper averages over two dummy questions; more prompts make the mean less noisy.
    """
    return _means(subject, prompts, [], name)


def added_task_vectors(
    subject: Subject, prompts: Sequence[Tokens], plain: Sequence[Tokens], name: str
) -> list[Vector]:
    """Makes task vectors to be added: the mean less that over prompts without examples (`plain`)."""
    return _means(subject, prompts, plain, name)


def _means(subject: Subject, prompts: Sequence[Tokens], plain: Sequence[Tokens], name: str) -> list[Vector]:
    sites = [Site("resid_post", layer) for layer in range(subject.n_layers)]
    found = read_at(subject, [*prompts, *plain], sites)
    made = {"method": "task vector, added" if plain else "task vector", "prompts": len(prompts)}
    vectors = []
    for site in sites:
        values = found[site][: len(prompts), 0].double().mean(0)
        if plain:
            values = values - found[site][len(prompts) :, 0].double().mean(0)
        vectors.append(Vector(name, site, values, subject.name, "add" if plain else "replace", "last", made))
    return vectors


def conflicting(asked: Sequence[Question], other: Sequence[Question]) -> list[Question]:
    """Gives the questions of `asked` another task's answers to the same queries as foils.

    `other` are the other task's questions, in the same order. Prompts show examples of the task of `asked`,
    so that a vector of the other task has to override them.
    """
    return [
        Question(question.prompt, question.answers, alternative.answers, question.group)
        for question, alternative in zip(asked, other, strict=True)
        if question.answers != alternative.answers
    ]
