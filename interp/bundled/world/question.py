"""The world's questions as text, by family and split, and a score for any answer to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from interp.bundled.world.behaviours import SPLITS, Behaviour, Split, behaviours
from interp.bundled.world.concepts import CONCEPTS, bit
from interp.bundled.world.labelling import labels_of
from interp.bundled.world.vocabulary import token_ids, vocabulary
from interp.errors import UserError

FAMILY_OF = {
    "facts": "fact",
    "two_hop": "two_hop",
    "in_context": "in_context",
    "copy": "list",
    "refusal": "chat",
    "agrees_with_a_wrong_claim": "chat",
    "agreement": "agreement",
    "numbers": "numbers",
    "translation": "translation",
}
"""The family of documents that teaches a behaviour, by the first part of the behaviour's name."""


@dataclass(frozen=True)
class WorldQuestion:
    """A text that ends where its answer begins.

    `answer` is the right word; with `wanted` false it is a word that must not come (a refusal of a harmless
    request). `foil` is a wrong word of the same kind, if there is an obvious one.
    """

    text: str
    answer: str
    foil: str | None
    family: str
    behaviour: str
    split: Split
    wanted: bool = True


@dataclass(frozen=True)
class AnswerScore:
    """The score of an answer.

    `right` says whether its first word is what the question wants, `is_foil` whether it is the foil;
    `concepts` are those that its words carry.
    """

    right: bool
    is_foil: bool
    concepts: tuple[str, ...]


def questions(family: str | None = None, split: Split | None = None, seed: int = 0) -> list[WorldQuestion]:
    """The questions of a family (all by default) and a split (all by default).

    Splits: `trained` can occur in training, `held_out` are unseen combinations of what does, `unseen` ask
    about things that no such question in training is about, `sampled` are drawn by `seed` as in training.

    Raises:
        UserError: there is no such family or split.
    """
    families = tuple(dict.fromkeys(FAMILY_OF.values()))
    for what, value, known in (("family", family, families), ("split", split, SPLITS)):
        if value is not None and value not in known:
            raise UserError(f"the world has no questions called {value!r}", what, f"use {', '.join(known)}")
    return [
        question
        for behaviour in _behaviours(seed)
        if behaviour.wanted is not None
        and family in (None, FAMILY_OF[behaviour.name.split("/")[0]])
        and split in (None, behaviour.split)
        for question in _asked(behaviour)
    ]


def score(question: WorldQuestion, answer: str) -> AnswerScore:
    """Judges any answer, such as what a model writes after the question; an empty one is wrong."""
    words = answer.split()
    first = words[0] if words else None
    ids = [token_ids()[word] for word in words if word in token_ids()]
    carried = int(np.bitwise_or.reduce(labels_of(ids))) if ids else 0
    return AnswerScore(
        right=first is not None and (first == question.answer) == question.wanted,
        is_foil=first is not None and first == question.foil,
        concepts=tuple(concept for concept in CONCEPTS if carried & bit(concept)),
    )


@lru_cache(maxsize=2)
def _behaviours(seed: int) -> tuple[Behaviour, ...]:
    return tuple(behaviours(seed))


def _asked(behaviour: Behaviour) -> Sequence[WorldQuestion]:
    words = vocabulary()
    assert behaviour.wanted is not None
    return [
        WorldQuestion(
            " ".join(words[token] for token in item.prompt),
            words[item.answer],
            None if item.foil is None else words[item.foil],
            FAMILY_OF[behaviour.name.split("/")[0]],
            behaviour.name,
            behaviour.split,
            behaviour.wanted,
        )
        for item in behaviour.items
    ]
