"""Rows and batches: how a subject is given documents."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from interp.document import SPLITS, Corpus, Document, Split, split_of
from interp.errors import UserError
from interp.subject.row_layout import RowLayout


@dataclass(frozen=True)
class Row:
    """A piece of a document that the subject reads at once: `document.tokens[start:start + length]`.

    `first` says whether it is the first of its document. Of a row that is `alone`, `document` holds the
    tokens of the row only, the first of which is that at `start`.
    """

    index: int
    document: Document
    start: int
    length: int
    first: bool = False
    alone: bool = False

    @property
    def inside(self) -> slice:
        """Where the row's tokens are in `document`."""
        begin = 0 if self.alone else self.start
        return slice(begin, begin + self.length)

    @property
    def tokens(self) -> NDArray[np.int32]:
        """The row's tokens, without the beginning-of-sequence token [length]."""
        return self.document.tokens[self.inside]

    def set_apart(self) -> "Row":
        """The same row, which holds no more of its document than itself."""
        whole = self.document
        if self.alone or self.length == len(whole.tokens):
            return self
        own = Document(
            self.tokens.copy(),
            None if whole.template is None else whole.template[self.inside].copy(),
            None if whole.labels is None else whole.labels[self.inside].copy(),
            whole.hash,
            whole.complete,
        )
        return replace(self, document=own, alone=True)

    def is_bare(self, layout: RowLayout) -> bool:
        """Whether this row has no beginning-of-sequence token although the subject has one."""
        return layout.bos_id is not None and self.document.complete and self.start == 0


@dataclass(frozen=True)
class Batch:
    """Rows side by side, each after one beginning-of-sequence token (if the subject has one), padded right.

    `tokens` [row, pos] include that token. `mask` [row, pos] is 0 only where a complete document has padding
    in its place; padding on the right needs no mask, as no token sees what comes after it. `counts`
    [row, pos] is false for that token, for padding, for template and special tokens, for the first token of a
    complete document, and for the first position if the layout skips it. `labels` [row, pos] are the
    documents' label masks.
    `document`, `start` and `hash` [row] say where a row comes from, and `first` [row] whether it begins its
    document; `offset` is 1 with a beginning-of-sequence token, else 0: token `p` of row `r` is token
    `start[r] + p - offset` of its document.
    """

    tokens: NDArray[np.int64]
    mask: NDArray[np.int64]
    counts: NDArray[np.bool_]
    labels: NDArray[np.uint64] | None
    document: NDArray[np.int64]
    start: NDArray[np.int32]
    hash: NDArray[np.int64]
    first: NDArray[np.bool_]
    offset: int
    split: Split | None = None

    @property
    def n_counted(self) -> int:
        """Number of tokens that count."""
        return int(self.counts.sum())


def rows_of(index: int, document: Document, context_size: int, layout: RowLayout) -> Iterator[Row]:
    """Cuts a document into rows of `context_size` tokens, the beginning-of-sequence token included.

    A beginning-of-sequence token of the document's own at the start of a row is left out: each row gets one.
    """
    tokens, start, first = document.tokens, 0, True
    while start < len(tokens):
        if tokens[start] == layout.bos_id:
            start += 1
            continue
        length = min(context_size - layout.offset, len(tokens) - start)
        yield Row(index, document, start, length, first)
        start, first = start + length, False


def counted_tokens(document: Document, rows: Sequence[Row], layout: RowLayout) -> int:
    """Number of tokens of a document that will count in batches of these rows."""
    counts = ~np.isin(document.tokens, list(layout.special_ids))
    if document.template is not None:
        counts &= ~document.template
    bare = [row.start for row in rows if row.is_bare(layout) or (layout.skip_first and not layout.offset)]
    counts[bare] = False
    return int(counts.sum())


def collate(rows: Sequence[Row], layout: RowLayout, split: Split | None = None) -> Batch:
    """Makes a batch of rows. Positions after a row's end hold token 0 and never count."""
    offset = layout.offset
    width = offset + max(row.length for row in rows)
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    counts = np.zeros((len(rows), width), dtype=bool)
    labelled = any(row.document.labels is not None for row in rows)
    labels = np.zeros((len(rows), width), dtype=np.uint64) if labelled else None
    if layout.bos_id is not None:
        tokens[:, 0] = layout.bos_id
    bare = [position for position, row in enumerate(rows) if row.is_bare(layout)]
    mask = np.ones_like(tokens)
    mask[bare, 0] = 0
    for position, row in enumerate(rows):
        inside = slice(offset, offset + row.length)
        tokens[position, inside] = row.tokens
        counts[position, inside] = True
        if row.document.template is not None:
            counts[position, inside] &= ~row.document.template[row.inside]
        if labels is not None and row.document.labels is not None:
            labels[position, inside] = row.document.labels[row.inside]
    counts &= ~np.isin(tokens, list(layout.special_ids))
    counts[bare, offset] = False
    if layout.skip_first:
        counts[:, 0] = False
    return Batch(
        tokens,
        mask,
        counts,
        labels,
        np.array([row.index for row in rows], dtype=np.int64),
        np.array([row.start for row in rows], dtype=np.int32),
        np.array([row.document.hash for row in rows], dtype=np.int64),
        np.array([row.first for row in rows], dtype=bool),
        offset,
        split,
    )


def batches(
    corpus: Corpus,
    indices: Iterable[int],
    layout: RowLayout,
    context_size: int,
    tokens_per_batch: int,
) -> Iterator[Batch]:
    """Streams documents as batches of rows of one length and one split.

    Rows wait in a bucket for their (split, length) until they fill a batch, so no batch of the stream is
    padded; at most `context_size` batches a split are waiting, whatever the length of the documents that
    their rows come from. The rest comes last, longest rows first, padded on the right.

    Raises:
        UserError: there is no document, or the context has no room for a token.
    """
    if context_size <= layout.offset:
        raise UserError(f"a context of {context_size} tokens holds no text", "context_size", "make it larger")
    waiting: dict[tuple[Split, int], list[Row]] = defaultdict(list)
    empty = True
    for index in indices:
        document = corpus[index]
        split = split_of(document.hash)
        for row in rows_of(index, document, context_size, layout):
            empty = False
            bucket = waiting[split, row.length]
            # of shorter rows many wait, and long: they must not hold their documents
            bucket.append(row if row.length == context_size - layout.offset else row.set_apart())
            if len(bucket) * (row.length + layout.offset) >= tokens_per_batch:
                yield collate(bucket, layout, split)
                bucket.clear()
    if empty:
        raise UserError("the corpus holds no text", corpus.name, "give at least one document with a token")
    for split in SPLITS:
        rest = [row for (of, _), bucket in waiting.items() if of == split for row in bucket]
        rest.sort(key=lambda row: (-row.length, row.index, row.start))
        while rest:
            fitting = max(1, tokens_per_batch // (rest[0].length + layout.offset))
            yield collate(rest[:fitting], layout, split)
            rest = rest[fitting:]
