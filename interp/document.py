"""Documents and corpora: documents that can be read in any order, and the split that each belongs to."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Split = Literal["explain", "select", "report"]
SPLITS: tuple[Split, ...] = get_args(Split)
SHARES: dict[Split, float] = {"explain": 0.5, "select": 0.2, "report": 0.3}
"""The share of the documents in each split."""


@dataclass(frozen=True)
class Document:
    """One document, without a beginning-of-sequence token.

    `tokens` [pos] are token ids; `template` [pos] marks tokens of a chat template, which never count;
    `labels` [pos] are bit masks over the corpus' `label_names` (bit i set: concept i is present).
    `identity` is the document's hash where its tokens alone do not decide it. A `complete` document gets no
    beginning-of-sequence token, such as a conversation whose chat template writes none.
    """

    tokens: NDArray[np.int32]
    template: NDArray[np.bool_] | None = None
    labels: NDArray[np.uint64] | None = None
    identity: int | None = None
    complete: bool = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.tokens):,} tokens)"

    @cached_property
    def hash(self) -> int:
        """A stable signed 64-bit hash of the tokens: the same text always falls into the same split."""
        if self.identity is not None:
            return self.identity
        digest = hashlib.blake2b(np.ascontiguousarray(self.tokens, dtype="<i4").tobytes(), digest_size=8)
        return int.from_bytes(digest.digest(), "little", signed=True)


@runtime_checkable
class Corpus(Protocol):
    """Documents in random access: document `i` depends on nothing but the corpus and `i`."""

    @property
    def name(self) -> str:
        """What the corpus is, with everything that identifies its content (a seed, a file)."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """The concepts of the label bits, in order; empty without labels."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Document: ...


def split_of(document_hash: int) -> Split:
    """The split of a document: half explain, a fifth select, three tenths report, by hash alone."""
    unit = ((document_hash * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF) / 2**64
    for split in SPLITS[:-1]:
        if unit < SHARES[split]:
            return split
        unit -= SHARES[split]
    return SPLITS[-1]
