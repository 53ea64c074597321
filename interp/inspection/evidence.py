"""What one feature does on text: its exemplars, how often it is active, and any text that is given."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.corpus.batches import Batch, Row, collate, rows_of
from interp.corpus.source import PydocSource, WorldSource
from interp.descriptions.evidence import Window
from interp.descriptions.windows import Place, read_windows
from interp.document import Corpus
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.mining.config import MiningConfig
from interp.monitor.bench import Bench
from interp.statistics.estimate import Estimate, ratio_interval
from interp.store.rows import ExemplarRow
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent

TOKENS = 10_000
"""Tokens on which it is counted how often a feature is active."""
ROWS_EACH = 2
"""Rows of a document that are read for it: a long document says no more than two short ones."""
PYDOC_DOCUMENTS = 400
"""Documents of Python's own text, for a model that no other text is known of."""
_WORLD = re.compile(r"world\(seed=(\d{1,9}), n_documents=(\d{1,7})\)")
NEAR = 0.02
"""Share of a stored peak by which the one that is read again may differ."""


@dataclass
class Texts:
    """The texts of a bench by name; those of the bundled world are made as they are asked for."""

    bench: Bench
    _made: dict[str, Corpus] = field(default_factory=dict)

    def named(self, name: str) -> Corpus | None:
        """The text of this name, if it is there."""
        if name in self.bench.corpora:
            return self.bench.corpora[name]
        found = _WORLD.fullmatch(name)
        if name not in self._made and found and self.bench.subject.info.speaks_world:
            source = WorldSource(seed=int(found[1]), documents=int(found[2]))
            self._made[name] = source.open(self.bench.subject)
        return self._made.get(name)

    def any(self, exemplars: Sequence[ExemplarRow] = ()) -> Corpus:
        """The text that exemplars are of, or one that the bench has, or one that comes with `interp`.

        Raises:
            UserError: there is none.
        """
        for name in dict.fromkeys(one.corpus for one in exemplars):
            if (corpus := self.named(name)) is not None:
                return corpus
        if self.bench.corpora:
            return next(iter(self.bench.corpora.values()))
        if "" not in self._made:
            subject = self.bench.subject
            world = subject.info.speaks_world
            source = WorldSource(documents=3000) if world else PydocSource(documents=PYDOC_DOCUMENTS)
            self._made[""] = source.open(subject)
        return self._made[""]


@dataclass(frozen=True)
class Exemplar:
    """A window that a store points to, with the feature's activation read again on each of its tokens."""

    row: ExemplarRow
    window: Window

    @property
    def peak(self) -> int | None:
        """The place of the largest activation on a token that counts."""
        return peak_of(self.window.values, self.window.counts)


@dataclass(frozen=True)
class Exemplars:
    """The exemplars that could be read.

    `missing` counts those of texts that are not there, by the text's name; `outside` those that point beyond
    their text; `moved` those whose largest activation is not the stored one.
    """

    shown: tuple[Exemplar, ...]
    missing: Mapping[str, int]
    outside: int = 0
    moved: int = 0


def exemplars_of(
    texts: Texts, feature: FeatureRef, rows: Sequence[ExemplarRow], progress: Progress | None = None
) -> Exemplars:
    """Cuts the windows that a store points to out of their texts, and reads the feature on them."""
    subject = texts.bench.subject
    missing: Counter[str] = Counter()
    shown: list[tuple[int, Exemplar]] = []
    outside = 0
    for name in dict.fromkeys(row.corpus for row in rows):
        own = [(number, row) for number, row in enumerate(rows) if row.corpus == name]
        corpus = texts.named(name)
        if corpus is None:
            missing[name] += len(own)
            continue
        there = [
            (number, row)
            for number, row in own
            if row.document < len(corpus) and row.start < len(corpus[row.document].tokens)
        ]
        outside += len(own) - len(there)
        places = [Place(feature, row.document, row.start) for _, row in there]
        windows = read_windows(subject, corpus, places, _context_size(subject, rows), progress=progress)
        shown += [(number, Exemplar(row, one)) for (number, row), one in zip(there, windows, strict=True)]
    found = tuple(one for _, one in sorted(shown, key=lambda pair: pair[0]))
    return Exemplars(found, missing, outside, sum(_has_moved(one) for one in found))


def _has_moved(one: Exemplar) -> bool:
    if one.row.band == "silent" or one.peak is None:
        return False
    return abs(float(one.window.values[one.peak]) - one.row.value) > NEAR * max(abs(one.row.value), 1e-3)


def _context_size(subject: Subject, rows: Sequence[ExemplarRow]) -> int:
    """The size of the rows that the windows were mined from: the usual one unless their starts deny it."""
    offset = subject.row_layout.offset
    usual = min(MiningConfig().context_size, subject.n_ctx)
    step = math.gcd(*(row.start for row in rows)) if rows else 0
    return usual if step % (usual - offset) == 0 else min(step + offset, subject.n_ctx)


@dataclass(frozen=True)
class Activity:
    """How often a feature is active, and how strongly, on some documents of a text.

    `active` is the share of tokens on which it is above zero, with its interval over documents. `counts` are
    the tokens between neighbouring `edges` of the activation.
    """

    corpus: str
    n_documents: int
    n_tokens: int
    active: Estimate
    edges: Float[np.ndarray, " edge"]
    counts: Int[np.ndarray, " bin"]


def activity(
    subject: Subject,
    corpus: Corpus,
    feature: FeatureRef,
    most_tokens: int = TOKENS,
    bins: int = 40,
    progress: Progress | None = None,
    seed: int = 0,
) -> Activity:
    """Reads a feature on documents that are spread over a text.

    Raises:
        UserError: there is no text.
    """
    values, of = [], []
    for batch, tokens, mask in some_batches(subject, corpus, most_tokens, progress):
        read: list[Float[Tensor, "row pos"]] = []

        def visit(activation: Tensor, into: list[Tensor] = read) -> None:
            into.append(feature.space.encode(activation)[..., feature.feature_id].float().cpu())

        subject.visit(tokens, {feature.space.site: visit}, mask)
        row, place = batch.counts.nonzero()
        values.append(read[0].numpy()[row, place] * feature.polarity)
        of.append(batch.document[row])
    if not values:
        raise UserError("the text is empty", corpus.name, "give another text")
    found, document = np.concatenate(values).astype(float), np.concatenate(of)
    above = (found > 0).astype(float)
    active = ratio_interval(above, np.ones_like(above), document, 1000, seed)
    counts, edges = np.histogram(found, bins) if len(found) else (np.zeros(bins, int), np.zeros(bins + 1))
    return Activity(corpus.name, len(np.unique(document)), len(found), active, edges, counts.astype(np.int64))


def some_batches(
    subject: Subject, corpus: Corpus, most_tokens: int, progress: Progress | None = None
) -> Iterator[tuple[Batch, Int[Tensor, "row pos"], Int[Tensor, "row pos"]]]:
    """Yields batches of the beginnings of documents that are spread over a text, with tokens and mask.

    Each document gives up to `ROWS_EACH` rows, until there are `most_tokens`.
    """
    layout, config = subject.row_layout, MiningConfig()
    context = min(config.context_size, subject.n_ctx)
    rows: list[Row] = []
    left = most_tokens
    for index in np.random.default_rng(0).permutation(len(corpus)).tolist():
        own = list(islice(rows_of(index, corpus[index], context, layout), ROWS_EACH))
        rows += own
        left -= sum(row.length for row in own)
        if left <= 0:
            break
    rows.sort(key=lambda row: (row.length, row.index, row.start))
    total = sum(row.length for row in rows)
    with (progress or silent()).task("reading documents", total=total, unit="tokens") as advance:
        while rows:
            at_once = max(1, config.tokens_per_batch // (rows[-1].length + layout.offset))
            part, rows = rows[-at_once:], rows[:-at_once]
            batch = collate(part, layout)
            tokens, mask = (torch.from_numpy(one).to(subject.device) for one in (batch.tokens, batch.mask))
            yield batch, tokens, mask
            advance(sum(row.length for row in part))


@dataclass(frozen=True)
class Reading:
    """A feature's activation on each token of a text; `level` is the quantile that its peak exceeds."""

    ids: tuple[int, ...]
    values: Float[np.ndarray, " token"]
    peak: int | None
    level: str | None


def reading(subject: Subject, feature: FeatureRef, text: str, quantiles: Mapping[str, float]) -> Reading:
    """Reads a feature on any text.

    Raises:
        UserError: there is no text, or it does not fit the context.
    """
    tokens = subject.to_tokens(text)
    counts = np.array([int(one) not in subject.special_ids for one in tokens[0]])
    if not counts.any():
        raise UserError("there is no text", "text", "write some words")
    found = subject.run(tokens, read=[feature.space], logits="none").features[feature.space.name]
    values = found[0, :, feature.feature_id].double().cpu().numpy() * feature.polarity
    peak = peak_of(values, counts)
    level = None if peak is None else level_above(quantiles, float(values[peak]))
    return Reading(tuple(tokens[0].tolist()), values, peak, level)


def peak_of(values: Float[np.ndarray, " token"], counts: Bool[np.ndarray, " token"]) -> int | None:
    """The place of the largest value that counts; None if none does."""
    return int(np.where(counts, values, -np.inf).argmax()) if counts.any() else None


def level_above(quantiles: Mapping[str, float], value: float) -> str | None:
    """The highest probability whose quantile a value exceeds; None if it exceeds none."""
    return max((one for one, at in quantiles.items() if value > at), key=float, default=None)
