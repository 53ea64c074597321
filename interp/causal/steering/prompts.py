"""Prompts without a given concept: instructions whose answer can be checked, or mere beginnings."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random

import numpy as np

from interp.causal.steering.concepts import WORLD, Concepts
from interp.corpus.questions import Question
from interp.document import Corpus, Split, split_of
from interp.errors import UserError


@dataclass(frozen=True)
class SteeringPrompt:
    """A question that is steered towards a concept; `choosing` says in which half it is.

    A factor is chosen on one half of every group of questions, and reported on the other.
    """

    concept: str
    question: Question
    choosing: bool


def prompts_without(
    concept: str, questions: Sequence[Question], most: int, seed: int, concepts: Concepts = WORLD
) -> list[SteeringPrompt]:
    """Draws at most `most` questions of each group without the concept in any word, right answers included.

    No prompt is drawn twice; the two halves take turns.

    Raises:
        UserError: no group has two such questions, or no word carries the concept.
    """
    found: list[SteeringPrompt] = []
    for group in dict.fromkeys(question.group for question in questions):
        free = {
            question.prompt: question
            for question in questions
            if question.group == group
            and not concepts.carries((*question.prompt, *chain(*question.answers)), concept).any()
        }
        drawn = Random(f"{concept} {group} {seed}").sample(list(free.values()), min(most, len(free)))
        if len(drawn) > 1:
            found += [
                SteeringPrompt(concept, question, place % 2 == 0) for place, question in enumerate(drawn)
            ]
    if not found:
        raise UserError(
            f"every question has words that carry {concept}", "questions", "use other behaviours, or more"
        )
    return found


def questions_about(
    corpus: Corpus,
    concept: str,
    count: int,
    *,
    split: Split = "explain",
    longest: int = 60,
    concepts: Concepts = WORLD,
) -> list[Question]:
    """Cuts documents before a word of the concept that follows another one; any such word is an answer.

    For attribution of the concept's words: one question of a document, at the last such place among its first
    `longest` tokens.

    Raises:
        UserError: no document of the split has two such words, or there is no such concept.
    """
    answers = concepts.words(concept)
    found: list[Question] = []
    for index in range(len(corpus)):
        document = corpus[index]
        places = np.flatnonzero(concepts.carries(document.tokens[:longest].tolist(), concept))
        if len(places) > 1 and split_of(document.hash) == split:
            found.append(Question(tuple(document.tokens[: places[-1]].tolist()), answers, (), concept))
        if len(found) == count:
            break
    if not found:
        raise UserError(
            f"no document of the {split} split has two words of {concept}", corpus.name, "give more text"
        )
    return found
