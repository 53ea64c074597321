"""What lenses with a map for every layer share: how they read, and the text that the maps are made from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.corpus.batches import Row, rows_of
from interp.document import Corpus, Split, split_of
from interp.errors import UserError
from interp.lenses.logit_lens import LogitLens
from interp.lenses.residual_stream import EMBEDDING, layer_name, layer_of, stream_site
from interp.subject.site import Site
from interp.subject.subject import Subject


class TrainedLens(torch.nn.Module, ABC):
    """logits = unembed(final_norm(map_l(x))), with a map for each of `layers` from the embedding (-1) on.

    The last layer has none: there it is the model's own output. `format` names the kind in a file.
    """

    name: str
    format: ClassVar[str]

    def __init__(self, subject: Subject, layers: Sequence[int] | None = None) -> None:
        super().__init__()
        self.subject = subject
        self.layers = tuple(range(EMBEDDING, subject.n_layers - 1) if layers is None else layers)
        self._logit_lens = LogitLens(subject)

    @classmethod
    @abstractmethod
    def for_file(cls, subject: Subject, known: Mapping[str, str], place: str) -> "TrainedLens":
        """Makes a lens of the shapes that a file's `metadata` says; raises UserError if it says none."""

    def metadata(self) -> dict[str, str]:
        """What a file says of the lens, beside its tensors."""
        return {"format": self.format, "subject": self.subject.name}

    @abstractmethod
    def mapped(
        self, activation: Float[Tensor, "*batch d_model"], row: int
    ) -> Float[Tensor, "*batch d_model"]:
        """Applies the map of the layer `layers[row]`."""

    def translated(
        self, activation: Float[Tensor, "*batch d_model"], site: Site
    ) -> Float[Tensor, "*batch d_model"]:
        """Maps the activation to the last layer's.

        Raises:
            UserError: the lens was not trained at this site (an attention or MLP output).
        """
        return activation if (row := self.row(site)) is None else self.mapped(activation, row)

    def logits(
        self, activation: Float[Tensor, "*batch d_model"], site: Site
    ) -> Float[Tensor, "*batch d_vocab"]:
        """The logits that are read at a place of the residual stream; raises UserError as `translated`."""
        return self._logit_lens.logits(self.translated(activation, site), site)

    def row(self, site: Site) -> int | None:
        """The place of a site's map; None for the last layer. Raises UserError if there is none."""
        layer = layer_of(site)
        if site == stream_site(layer):
            if layer == self.subject.n_layers - 1:
                return None
            if layer in self.layers:
                return self.layers.index(layer)
        known = ", ".join(map(layer_name, self.layers))
        raise UserError(
            f"the {self.name} was not trained at {site}", "sites", f"use the residual stream after {known}"
        )


def rows_by_document(
    subject: Subject, corpus: Corpus, split: Split, context_size: int, seed: int, once: bool = False
) -> Iterator[list[Row]]:
    """Yields the rows of each document of a split, documents in random order; over and over unless `once`.

    Raises:
        UserError: the split has no text.
    """
    rng = np.random.default_rng(seed)
    empty = True
    while empty or not once:
        for index in map(int, rng.permutation(len(corpus))):
            document = corpus[index]
            if split_of(document.hash) == split and (
                rows := list(rows_of(index, document, context_size, subject.row_layout))
            ):
                empty = False
                yield rows
        if empty:
            raise UserError(f"the {split} split has no text", corpus.name, "give more documents")
