"""Training batches: activations of counted positions, shuffled within a bounded buffer, seeded, resumable."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.corpus.batches import Row, collate, rows_of
from interp.corpus.document import Corpus, Split, split_of
from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject


@runtime_checkable
class Source(Protocol):
    """Where activations come from: buffer after buffer, each a function of its cursor alone."""

    @property
    def width(self) -> int:
        """The length of one activation."""
        ...

    def buffer(self, cursor: int) -> tuple[Float[Tensor, "token d_in"], int]:
        """Returns the buffer that begins at `cursor` and the cursor of the one after it."""
        ...


def activation_width(subject: Subject, site: Site) -> int:
    """The length of an activation as an SAE sees it: at `head_out` all heads side by side.

    Raises:
        UserError: the subject has no such site.
    """
    return subject.site_width(site) * (subject.n_heads if site.kind == "head_out" else 1)


class SubjectActivations:
    """A subject's activations at a site, over a corpus in a seeded order, at the positions that count.

    The order is a new permutation of the documents in every epoch. A buffer holds at least `buffer_tokens`
    activations (it ends with the document that reaches the number), so memory is bounded; its cursor is
    the number of documents read before it.

    Raises:
        UserError: the corpus has no document of these splits with a position that counts.
    """

    def __init__(
        self,
        subject: Subject,
        site: Site,
        corpus: Corpus,
        *,
        seed: int,
        splits: tuple[Split, ...] = ("explain",),
        context_size: int = 128,
        buffer_tokens: int = 65536,
        tokens_per_batch: int = 8192,
    ) -> None:
        if len(corpus) == 0:
            raise UserError("the corpus is empty", corpus.name, "give at least one document")
        self.width = activation_width(subject, site)
        self._subject = subject
        self._site = site
        self._corpus = corpus
        self._seed = seed
        self._splits = splits
        self._context_size = context_size
        self._buffer_tokens = buffer_tokens
        self._tokens_per_batch = tokens_per_batch
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def _document_at(self, cursor: int) -> int:
        epoch, place = divmod(cursor, len(self._corpus))
        if self._order[0] != epoch:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._corpus))
            self._order = (epoch, order)
        return int(self._order[1][place])

    def _rows(self, cursor: int) -> tuple[list[Row], int]:
        rows: list[Row] = []
        counted, first = 0, cursor
        offset = 0 if self._subject.bos_id is None else 1
        special = list(self._subject.special_ids)
        while counted < self._buffer_tokens:
            if counted == 0 and cursor - first >= len(self._corpus):
                raise UserError(
                    f"no token of the corpus counts in the splits {', '.join(self._splits)}",
                    self._corpus.name,
                    "give more documents, or documents that are not all template and special tokens",
                )
            index = self._document_at(cursor)
            document = self._corpus[index]
            cursor += 1
            if split_of(document.hash) not in self._splits:
                continue
            counts = ~np.isin(document.tokens, special)
            if document.template is not None:
                counts &= ~document.template
            counted += int(counts.sum())
            rows.extend(rows_of(index, document, self._context_size, offset))
        return rows, cursor

    def buffer(self, cursor: int) -> tuple[Float[Tensor, "token d_in"], int]:
        """Runs the subject over the next documents; rows of like length share a batch."""
        rows, following = self._rows(cursor)
        rows.sort(key=lambda row: row.length)
        parts: list[Tensor] = []
        while rows:
            fitting = max(1, self._tokens_per_batch // (rows[-1].length + 1))
            batch = collate(rows[-fitting:], self._subject.bos_id, self._subject.special_ids)
            del rows[-fitting:]
            keep = torch.from_numpy(batch.counts)

            def take(activation: Tensor, keep: Tensor = keep) -> None:
                flat = activation.flatten(2)
                parts.append(flat[keep.to(flat.device)].float())

            self._subject.visit(torch.from_numpy(batch.tokens), {self._site: take})
        return torch.cat(parts), following


@dataclass(frozen=True)
class Place:
    """A place in a stream: the buffer's cursor and how many of its batches are already used."""

    cursor: int = 0
    used: int = 0


class ShuffledBatches(Iterator[Tensor]):
    """Cuts a source's buffers, each shuffled by a generator of its own, into batches of one size.

    The state is two integers (`place`): to resume, the current buffer is collected again. What a buffer
    holds beyond whole batches is dropped (less than one batch a buffer).
    """

    def __init__(self, source: Source, batch_tokens: int, seed: int, place: Place | None = None) -> None:
        self.source = source
        self._batch_tokens = batch_tokens
        self._seed = seed
        self.place = place or Place()
        self._shuffled: Tensor | None = None
        self._following = self.place.cursor
        if self.place != Place():
            self._fill()

    def _fill(self) -> Tensor:
        self._shuffled = None  # so that two buffers are never held at once
        activations, self._following = self.source.buffer(self.place.cursor)
        whole = len(activations) // self._batch_tokens
        if whole == 0:
            raise UserError(
                f"a buffer of {len(activations)} tokens holds no batch of {self._batch_tokens}",
                "sae.buffer_tokens",
                "make buffer_tokens at least a few times batch_tokens",
            )
        order = np.random.default_rng((self._seed, self.place.cursor)).permutation(len(activations))
        kept = torch.from_numpy(order[: whole * self._batch_tokens]).to(activations.device)
        self._shuffled = activations[kept]
        return self._shuffled

    def peek(self) -> Float[Tensor, "token d_in"]:
        """All whole batches of the current buffer, without using them."""
        return self._fill() if self._shuffled is None else self._shuffled

    def __next__(self) -> Float[Tensor, "batch d_in"]:
        shuffled = self.peek()
        start = self.place.used * self._batch_tokens
        if start == len(shuffled):
            self.place = Place(self._following)
            shuffled, start = self._fill(), 0
        batch = shuffled[start : start + self._batch_tokens]
        self.place = Place(self.place.cursor, self.place.used + 1)
        return batch
