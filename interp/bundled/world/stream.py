"""The labelled stream: documents of the world one after another, with the labels of each token."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt64

from interp.bundled.world.corpus import FAMILIES, WorldCorpus
from interp.bundled.world.draft import Family
from interp.bundled.world.vocabulary import BOS_ID


@dataclass(frozen=True)
class LabelledStream:
    """Tokens in a row, each document after one beginning-of-sequence token.

    `labels` are bit masks over `concepts`, `answers` marks tokens that the text before them determines,
    `documents` numbers each token's document from 0, `family` is each token's index into `families`.
    """

    tokens: Int[np.ndarray, " token"]
    labels: UInt64[np.ndarray, " token"]
    answers: Bool[np.ndarray, " token"]
    documents: Int[np.ndarray, " token"]
    family: Int[np.ndarray, " token"]
    families: tuple[str, ...]
    concepts: tuple[str, ...]

    def carries(self, concept: str) -> Bool[np.ndarray, " token"]:
        """Which tokens are labelled with a concept; `ValueError` if there is none of that name."""
        bit = np.uint64(1 << self.concepts.index(concept))
        return np.asarray(self.labels & bit != 0)


def labelled_stream(
    seed: int, n_tokens: int, start: int = 0, families: Sequence[Family] = FAMILIES
) -> LabelledStream:
    """The first `n_tokens` tokens of documents `start`, `start` + 1, ... of the corpus with `seed`.

    Raises:
        ValueError: `n_tokens` or `start` is negative.
    """
    if min(n_tokens, start) < 0:
        raise ValueError(f"n_tokens and start must not be negative: {n_tokens}, {start}")
    tokens: list[int] = []
    labels: list[int] = []
    answers: list[bool] = []
    documents: list[int] = []
    family: list[int] = []
    corpus = WorldCorpus(seed, start + n_tokens, families)  # a document has at least one token
    number = {one.name: place for place, one in enumerate(corpus.families)}
    index = start
    while len(tokens) < n_tokens:
        name, draft = corpus.draft(index)
        length = len(draft.tokens) + 1
        tokens += [BOS_ID, *draft.tokens]
        labels += [0, *draft.labels]
        answers += [False, *draft.answers]
        documents += [index - start] * length
        family += [number[name]] * length
        index += 1
    return LabelledStream(
        tokens=np.array(tokens[:n_tokens], dtype=np.int64),
        labels=np.array(labels[:n_tokens], dtype=np.uint64),
        answers=np.array(answers[:n_tokens], dtype=np.bool_),
        documents=np.array(documents[:n_tokens], dtype=np.int64),
        family=np.array(family[:n_tokens], dtype=np.int64),
        families=tuple(number),
        concepts=corpus.label_names,
    )
