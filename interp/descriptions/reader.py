"""Answers queries about features with a subject, in few batches, no deeper than the last site needed."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.descriptions.query import Query
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks


class FeatureReader:
    """The `Ask` of some features of a subject.

    Rows that several features ask about are run once. Rows are batched by how deep they have to go and by
    length, each with exactly one BOS (none if the subject has none), and cut on the left to the context size.
    A token at a first position that the subject's frame skips is as silent as one that never counts.
    """

    def __init__(
        self, subject: Subject, features: Sequence[FeatureRef], tokens_per_batch: int = 8192
    ) -> None:
        self._subject = subject
        self._features = features
        self._tokens_per_batch = tokens_per_batch

    def __call__(self, queries: Sequence[Query]) -> Float[np.ndarray, " query"]:
        """Returns the activation, in its polarity, of each query's feature on the last token of its row."""
        rows, row_of = _distinct([query.tokens for query in queries])
        depth = np.zeros(len(rows), dtype=np.int64)
        for query, row in zip(queries, row_of, strict=True):
            depth[row] = max(depth[row], _depth(self._features[query.feature].space.site))
        asked: list[list[int]] = [[] for _ in rows]
        for number, row in enumerate(row_of):
            asked[row].append(number)
        answers = np.zeros(len(queries))
        order = sorted(range(len(rows)), key=lambda row: (depth[row], len(rows[row])))
        for batch in _batches(order, rows, depth, self._tokens_per_batch):
            self._read([rows[row] for row in batch], [asked[row] for row in batch], queries, answers)
        return answers

    def _read(
        self, rows: list[np.ndarray], asked: list[list[int]], queries: Sequence[Query], answers: np.ndarray
    ) -> None:
        tokens, last = padded(self._subject, rows)
        skipped = (last == 0) & self._subject.row_layout.skip_first
        wanted: dict[Site, dict[str, list[tuple[int, int]]]] = {}
        spaces: dict[str, ReadableFeatures] = {}
        for row, numbers in enumerate(asked):
            for number in numbers:
                space = self._features[queries[number].feature].space
                spaces[space.name] = space
                wanted.setdefault(space.site, {}).setdefault(space.name, []).append((row, number))

        def read_at(site: Site) -> Callable[[Tensor], None]:
            def read(activation: Tensor) -> None:
                at_last = activation[torch.arange(len(rows), device=activation.device), last]
                for name, pairs in wanted[site].items():
                    needed = sorted({row for row, _ in pairs})
                    place = {row: i for i, row in enumerate(needed)}
                    features = [self._features[queries[number].feature] for _, number in pairs]
                    encoded = spaces[name].encode(at_last[needed])
                    picked = encoded[[place[row] for row, _ in pairs], [f.feature_id for f in features]]
                    picked = picked.masked_fill(skipped[[row for row, _ in pairs]], 0.0)
                    polarity = np.array([f.polarity for f in features])
                    answers[[number for _, number in pairs]] = picked.double().cpu().numpy() * polarity

            return read

        self._subject.visit(tokens, {site: read_at(site) for site in wanted}, torch.ones_like(tokens))


class SubjectProposals:
    """The `Propose` of a subject: tokens it predicts at each place, and the nearest in its unembedding."""

    def __init__(
        self, subject: Subject, expected: int = 6, nearest: int = 6, tokens_per_batch: int = 4096
    ) -> None:
        self._subject = subject
        self._expected = expected
        self._nearest = nearest
        self._tokens_per_batch = tokens_per_batch
        self._special = sorted({*subject.special_ids, *([] if subject.bos_id is None else [subject.bos_id])})
        self._directions: Tensor | None = None

    def __call__(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns candidates for each token: predicted and nearest in turn, best first, none special."""
        distinct, row_of = _distinct(rows)
        tables: dict[int, np.ndarray] = {}
        order = sorted(range(len(distinct)), key=lambda row: len(distinct[row]))
        for batch in _batches(order, distinct, np.zeros(len(distinct)), self._tokens_per_batch):
            tokens, last = padded(self._subject, [distinct[row] for row in batch])
            with torch.no_grad():
                normed = self._subject.normed(tokens, torch.ones_like(tokens))
            (best,) = in_blocks(self._likeliest, self._subject.d_vocab, normed.flatten(0, 1))
            expected = best.view(*tokens.shape, -1).cpu().numpy()
            for i, row in enumerate(batch):
                end = int(last[i])
                before = expected[i, max(0, end - len(distinct[row])) : end]
                tables[row] = self._interleaved(distinct[row], before)
        return [tables[row] for row in row_of]

    def _likeliest(self, normed: Tensor) -> tuple[Tensor]:
        logits = self._subject.unembed(normed)
        return (self._top(logits, self._expected),)

    def _top(self, values: Tensor, count: int) -> Tensor:
        values[:, self._special] = -torch.inf
        return values.topk(min(count, values.shape[-1]), dim=-1).indices

    def _interleaved(self, row: np.ndarray, expected: np.ndarray) -> np.ndarray:
        near = self._nearest_to(row)
        if len(expected) < len(row):  # no prediction of the first tokens without a BOS or beyond the context
            expected = np.concatenate([near[: len(row) - len(expected), : expected.shape[1]], expected])
        shared = min(expected.shape[1], near.shape[1])
        pairs = np.stack([expected[:, :shared], near[:, :shared]], axis=-1).reshape(len(row), -1)
        return np.concatenate([pairs, expected[:, shared:], near[:, shared:]], axis=1).astype(np.int64)

    def _nearest_to(self, row: np.ndarray) -> Int[np.ndarray, "token near"]:
        if self._directions is None:
            columns = self._subject.unembedding().float()
            directions = columns - columns.mean(dim=1, keepdim=True)
            self._directions = directions.div_(directions.norm(dim=0, keepdim=True).clamp(min=1e-12))
        directions = self._directions

        def measure(ids: Tensor) -> tuple[Tensor]:
            cosine = directions[:, ids].T @ directions
            cosine[torch.arange(len(ids)), ids] = -torch.inf
            return (self._top(cosine, self._nearest),)

        ids = torch.from_numpy(row.astype(np.int64)).to(directions.device)
        (nearest,) = in_blocks(measure, self._subject.d_vocab, ids)
        return nearest.cpu().numpy()


def padded(
    subject: Subject, rows: Sequence[np.ndarray]
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, " row"]]:
    """Adds a BOS to rows, cuts them on the left, pads them on the right; returns also their last places.

    The padding is after the last token, where a causal model cannot attend to it.
    """
    room = subject.n_ctx - subject.row_layout.offset
    inputs = [subject.with_bos(row[-room:].tolist()) for row in rows]
    table = np.zeros((len(rows), max(map(len, inputs))), dtype=np.int64)
    for i, row in enumerate(inputs):
        table[i, : len(row)] = row
    last = torch.tensor([len(row) - 1 for row in inputs])
    return torch.from_numpy(table).to(subject.device), last.to(subject.device)


def _distinct(rows: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
    """Returns the distinct rows, and the index of each row among them."""
    numbers: dict[bytes, int] = {}
    row_of = [numbers.setdefault(row.astype(np.int64).tobytes(), len(numbers)) for row in rows]
    first: dict[int, np.ndarray] = {}
    for row, number in zip(rows, row_of, strict=True):
        first.setdefault(number, row)
    return [first[number] for number in range(len(numbers))], row_of


def _batches(
    order: Sequence[int], rows: Sequence[np.ndarray], depth: np.ndarray, tokens_per_batch: int
) -> Iterator[list[int]]:
    """Consecutive rows of one depth whose padded size stays within the budget."""
    batch: list[int] = []
    for row in order:
        if batch and (
            depth[row] != depth[batch[0]] or (len(rows[row]) + 1) * (len(batch) + 1) > tokens_per_batch
        ):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _depth(site: Site) -> int:
    """How far down a forward pass has to go: layers, and for equal layers the place in the block."""
    late = {
        "embed": -1,
        "resid_pre": 0,
        "head_out": 1,
        "attn_out": 2,
        "resid_mid": 3,
        "mlp_post": 4,
        "mlp_out": 5,
    }
    return site.layer * 8 + late.get(site.kind, 6)
