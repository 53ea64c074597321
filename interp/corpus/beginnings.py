"""Beginnings of documents, cut at random places."""

from typing import NamedTuple

import numpy as np

from interp.document import Corpus, Split, split_of
from interp.errors import UserError


class Beginning(NamedTuple):
    """The first token ids of a document, without a beginning-of-sequence token, and the one that follows."""

    tokens: tuple[int, ...]
    following: int


def beginnings(
    corpus: Corpus, split: Split, count: int, *, longest: int = 64, seed: int = 0
) -> list[Beginning]:
    """The beginnings of the first `count` documents of a split, each cut in its first `longest` tokens.

    Raises:
        UserError: the split has fewer documents of two tokens or more.
    """
    rng = np.random.default_rng(seed)
    found: list[Beginning] = []
    for index in range(len(corpus)):
        if len(found) == count:
            break
        document = corpus[index]
        tokens = document.tokens
        if len(tokens) > 1 and split_of(document.hash) == split:
            cut = int(rng.integers(1, min(len(tokens), longest)))
            found.append(Beginning(tuple(tokens[:cut].tolist()), int(tokens[cut])))
    if len(found) < count:
        raise UserError(
            f"only {len(found)} documents of the {split} split can be cut",
            corpus.name,
            "ask for fewer, or give more",
        )
    return found
