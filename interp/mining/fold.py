"""Mining: one pass of a subject over a corpus feeds every feature space at every layer.

A pass is a fold: batches update a state, and the states of two parts of a corpus merge into the state of
the whole, exactly.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from interp.corpus.activations import KeptActivations, visit_batch
from interp.corpus.batches import Batch, batches
from interp.document import SPLITS, Corpus, Split
from interp.errors import UserError
from interp.features.space import ReadableFeatures
from interp.mining.config import MiningConfig
from interp.mining.extremes import sample_places
from interp.mining.priority import priority
from interp.mining.samples import SampleIndex, token_order
from interp.mining.state import BatchView, SpaceState
from interp.mining.windows import RowInfo
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent

_TIE_SALT = 3


@dataclass
class SplitState:
    """The state of one split: the shared samples and every space's state."""

    row_index: SampleIndex
    token_index: SampleIndex
    spaces: dict[str, SpaceState]
    n_documents: int = 0
    _last: SpaceState | None = field(default=None, repr=False, compare=False)

    def view(self, batch: Batch) -> BatchView:
        """Prepares a batch for all spaces, and updates the shared samples."""
        start = batch.start.astype(np.int64)
        text = priority(batch.hash, start, _TIE_SALT)
        by_document = np.argsort(batch.document, kind="stable")
        first = by_document[np.unique(text[by_document], return_index=True)[1]]
        fresh = np.zeros(len(text), dtype=bool)
        fresh[first] = True
        _, begins, times = np.unique(batch.hash[first], return_index=True, return_counts=True)
        same_text = np.unique(batch.hash, return_inverse=True)[1]
        several = [np.flatnonzero(fresh & (batch.hash == batch.hash[first[at]])) for at in begins[times > 1]]
        rows = RowInfo(
            document=torch.from_numpy(batch.document),
            start=torch.from_numpy(start),
            hash=torch.from_numpy(batch.hash),
            tie=torch.from_numpy(text & 0xFFFFFFFF),
            fresh=torch.from_numpy(fresh),
            together=tuple(map(torch.from_numpy, several)),
            text=torch.from_numpy(same_text),
        )
        self.n_documents += int(batch.first.sum())
        order = token_order(batch)
        inside = torch.from_numpy(batch.counts[:, batch.offset :])
        return BatchView(
            rows,
            None if bool(inside.all()) else inside,
            batch.n_counted,
            batch.offset,
            self.row_index.take_rows(batch),
            self.token_index.take_tokens(batch, order),
            sample_places(order),
        )

    def take(self, view: BatchView, space: ReadableFeatures, activations: Tensor) -> None:
        """Takes in a space's activations [row, pos, feature] on the batch of `view`.

        On a GPU it finishes the space before, whose numbers the device has computed while the model went on.
        """
        state = self.spaces[space.name]
        state.take(activations, view)
        if self._last is not None and self._last is not state:
            self._last.finish()
        self._last = state

    def finish(self) -> None:
        """Merges what was begun on a GPU."""
        for state in self.spaces.values():
            state.finish()
        self._last = None

    def merge(self, other: "SplitState") -> "SplitState":
        """Returns the state of both parts together."""
        row_index, rows = self.row_index.merge(other.row_index, distinct=True)
        token_index, tokens = self.token_index.merge(other.token_index, distinct=False)
        spaces = {name: state.merge(other.spaces[name], rows, tokens) for name, state in self.spaces.items()}
        return SplitState(row_index, token_index, spaces, self.n_documents + other.n_documents)


@dataclass
class MiningState:
    """The state of a pass: a `SplitState` for each split."""

    config: MiningConfig
    splits: dict[Split, SplitState]

    @classmethod
    def empty(
        cls,
        spaces: Sequence[ReadableFeatures],
        config: MiningConfig,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float16,
    ) -> "MiningState":
        """Makes an empty state; only the explain split keeps activations and extremes, others pointers.

        `device` is where activations will come from, `dtype` their float type: on a GPU the state is kept
        there, in that type, until it is `moved`; otherwise on the CPU, in half precision.
        """
        where = torch.device(device)
        if where.type != "cuda":
            where, dtype = torch.device("cpu"), torch.float16
        return cls(
            config,
            {
                split: SplitState(
                    SampleIndex.empty(config.sampled_rows),
                    SampleIndex.empty(config.sampled_tokens),
                    {
                        space.name: SpaceState.empty(
                            space, config, config.top_windows.of(split), split == "explain", where, dtype
                        )
                        for space in spaces
                    },
                )
                for split in SPLITS
            },
        )

    def finish(self) -> None:
        """Merges what was begun on a GPU; `fold` does so at its end."""
        for split in self.splits.values():
            split.finish()

    def moved(self, device: torch.device | str) -> "MiningState":
        """Returns it on a device, finished; on the CPU it can be pickled, and is as if mined there."""
        where = torch.device(device)
        return MiningState(
            self.config,
            {
                name: SplitState(
                    split.row_index,
                    split.token_index,
                    {space: state.moved(where) for space, state in split.spaces.items()},
                    split.n_documents,
                )
                for name, split in self.splits.items()
            },
        )

    def merge(self, other: "MiningState") -> "MiningState":
        """Returns the state that one pass over both parts would have given, on the CPU.

        Raises:
            UserError: the two were mined with different settings or different spaces.
        """
        names = [sorted(state.splits["explain"].spaces) for state in (self, other)]
        if self.config != other.config or names[0] != names[1]:
            raise UserError(
                "two mining states with different settings or spaces cannot be merged",
                "merge",
                "mine all parts of a corpus with the same configuration",
            )
        return MiningState(self.config, {s: self.splits[s].merge(other.splits[s]) for s in SPLITS})

    def release(self, space: str) -> None:
        """Frees the memory of one space, whose results have been read out."""
        for split in self.splits.values():
            del split.spaces[space]


def feed(
    subject: Subject,
    batch: Batch,
    spaces: Sequence[ReadableFeatures],
    consume: Callable[[ReadableFeatures, Tensor], None],
    kept: KeptActivations | None = None,
) -> None:
    """Runs or reads one batch and hands each space's activations [row, pos, feature] on, layer by layer."""
    at: dict[Site, list[ReadableFeatures]] = {}
    for space in spaces:
        at.setdefault(space.site, []).append(space)

    def read(here: list[ReadableFeatures]) -> Callable[[Tensor], None]:
        def callback(activation: Tensor) -> None:
            for space in here:
                consume(space, space.encode(activation))

        return callback

    # Mining sees itself that what it takes in is finite: on a GPU the host would wait for each batch.
    checked = subject.device.type != "cuda"
    visit_batch(subject, batch, {site: read(here) for site, here in at.items()}, kept, checked)


def fold(
    subject: Subject,
    spaces: Sequence[ReadableFeatures],
    corpus: Corpus,
    config: MiningConfig | None = None,
    documents: Iterable[int] | None = None,
    progress: Progress | None = None,
    kept: KeptActivations | None = None,
) -> MiningState:
    """Collects exemplars and statistics of every feature of every space in one pass.

    Args:
        subject: the model.
        spaces: any feature spaces of the subject, at any sites, names distinct.
        corpus: the text; `documents` picks some of it (a shard), all by default.
        config: what to keep.
        progress: where to show how far it is.
        kept: activations at its sites are read from there, or kept in this pass.

    Returns:
        The state, to be merged with those of other shards or read by `interp.mining.mined.read_out`.

    Raises:
        UserError: no text, two spaces of one name, a context longer than the subject's, or activations
            that are not finite.
    """
    config = config or MiningConfig()
    if len({space.name for space in spaces}) < len(spaces) or not spaces:
        raise UserError(
            "feature spaces need distinct names", "mine", "give each space once, and at least one"
        )
    if config.context_size > subject.n_ctx:
        raise UserError(
            f"{config.context_size} tokens do not fit {subject.name}, with a context of {subject.n_ctx}",
            "mining.context_size",
            f"use at most {subject.n_ctx}",
        )
    chosen = range(len(corpus)) if documents is None else list(documents)
    names = "mining " + ", ".join(space.name for space in spaces[:3]) + (" ..." if len(spaces) > 3 else "")
    stream = batches(corpus, chosen, subject.row_layout, config.context_size, config.tokens_per_batch)
    with (progress or silent()).task(names, total=len(chosen), unit="documents") as advance:
        return fold_batches(subject, spaces, stream, config, advance, kept)


def fold_batches(
    subject: Subject,
    spaces: Sequence[ReadableFeatures],
    stream: Iterable[Batch],
    config: MiningConfig,
    advance: Callable[[float | int], None] = lambda documents: None,
    kept: KeptActivations | None = None,
) -> MiningState:
    """Mines batches from `interp.corpus.batches`; calls `advance` with the number of documents done."""
    state = MiningState.empty(spaces, config, subject.device, subject.dtype)
    where = subject.device if subject.device.type == "cuda" else torch.device("cpu")
    for batch in stream:
        assert batch.split is not None
        split = state.splits[batch.split]
        feed(subject, batch, spaces, partial(split.take, split.view(batch).to(where)), kept)
        advance(int(batch.first.sum()))
    state.finish()
    if kept is not None:
        kept.flush()
    return state
