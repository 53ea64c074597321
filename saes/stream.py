"""Activations to train on: of the positions that count, in bounded buffers, in a seeded order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from interp.corpus.activations import KeptActivations, visit_batch
from interp.corpus.batches import Row, collate, counted_tokens, rows_of
from interp.device import sent
from interp.document import Corpus, Split, split_of
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


def tokens_at_once(device: str) -> int:
    """Tokens per forward pass when activations are collected; fewer on a CPU, to fit its caches."""
    return 2048 if device == "cpu" else 8192


class SubjectActivations:
    """A subject's activations at some sites, over a corpus in a seeded order, at the positions that count.

    The order is a new permutation of the documents in every epoch. A buffer holds at least `buffer_tokens`
    activations (it ends with the document that reaches the number), so memory is bounded; its cursor is
    the number of documents read before it. With `kept`, what is there is read, and the rest is kept.

    Raises:
        UserError: the corpus has no document of these splits with a position that counts.
    """

    def __init__(
        self,
        subject: Subject,
        sites: Sequence[Site],
        corpus: Corpus,
        *,
        seed: int,
        splits: tuple[Split, ...] = ("explain",),
        context_size: int = 128,
        buffer_tokens: int = 65536,
        tokens_per_batch: int | None = None,
        kept: KeptActivations | None = None,
    ) -> None:
        if len(corpus) == 0:
            raise UserError("the corpus is empty", corpus.name, "give at least one document")
        self.widths = {site: activation_width(subject, site) for site in sites}
        self._subject = subject
        self._corpus = corpus
        self._seed = seed
        self._splits = splits
        self._context_size = context_size
        self._buffer_tokens = buffer_tokens
        self._tokens_per_batch = tokens_per_batch or tokens_at_once(str(subject.device))
        self._kept = kept
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
        layout = self._subject.row_layout
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
            own = list(rows_of(index, document, self._context_size, layout))
            counted += counted_tokens(document, own, layout)
            rows.extend(own)
        return rows, cursor

    def buffers(self, cursor: int) -> tuple[dict[Site, Float[Tensor, "token _"]], int]:
        """Runs the subject once over the next documents; rows of like length share a batch.

        Returns the activations of the same tokens at every site, and the cursor of the next buffer.
        """
        rows, following = self._rows(cursor)
        rows.sort(key=lambda row: row.length)
        parts: dict[Site, list[Tensor]] = {site: [] for site in self.widths}
        while rows:
            fitting = max(1, self._tokens_per_batch // (rows[-1].length + 1))
            batch = collate(rows[-fitting:], self._subject.row_layout)
            del rows[-fitting:]
            places = sent(torch.from_numpy(np.flatnonzero(batch.counts)), self._subject.device)
            takers = {site: _taker(places, kept) for site, kept in parts.items()}
            visit_batch(self._subject, batch, takers, self._kept)
        if self._kept is not None:
            self._kept.flush()
        return {site: torch.cat(parts.pop(site)) for site in self.widths}, following


def _taker(places: Int64[Tensor, " token"], kept: list[Tensor]) -> Callable[[Tensor], None]:
    def take(activation: Tensor) -> None:
        kept.append(activation.flatten(2).flatten(0, 1).index_select(0, places).float())

    return take


@dataclass(frozen=True)
class StreamPosition:
    """A place in a stream: the buffer's cursor and how many of its batches are already used."""

    cursor: int = 0
    used: int = 0
