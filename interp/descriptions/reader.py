"""Answers queries about features with a subject, in few batches, no deeper than the last site needed."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

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


@dataclass
class WindowPasses:
    """Counts what was run: `passes`, in rows of tokens through the model, and `tokens`.

    A row counts 1, up to the site that is read, and a part of it its share of the tokens. A gradient counts
    1 more.
    """

    passes: float = 0.0
    tokens: int = 0

    def add(self, computed: Int[Tensor, " row"], of: Int[Tensor, " row"]) -> None:
        """Counts the tokens that were computed of each row."""
        self.passes += float((computed / of).sum())
        self.tokens += int(computed.sum())


class FeatureReader:
    """The `Ask` of some features of a subject.

    Rows that several features ask about are run once. Rows are batched by how deep they have to go and by
    length, each with exactly one BOS (none if the subject has none), and cut on the left to the context size.
    A token at a first position that the subject's frame skips is as silent as one that never counts.
    """

    def __init__(
        self,
        subject: Subject,
        features: Sequence[FeatureRef],
        tokens_per_batch: int = 8192,
        spent: WindowPasses | None = None,
    ) -> None:
        self._subject = subject
        self._features = features
        self._tokens_per_batch = tokens_per_batch
        self._spent = spent or WindowPasses()

    def __call__(self, queries: Sequence[Query]) -> Float[np.ndarray, " query"]:
        """Returns the activation, in its polarity, of each query's feature on the last token of its row."""
        rows, row_of = _distinct([query.tokens for query in queries])
        depth = np.zeros(len(rows), dtype=np.int64)
        for query, row in zip(queries, row_of, strict=True):
            depth[row] = max(depth[row], site_depth(self._features[query.feature].space.site))
        asked: list[list[int]] = [[] for _ in rows]
        for number, row in enumerate(row_of):
            asked[row].append(number)
        answers = np.zeros(len(queries))
        shared = self._shared(queries, rows, row_of)
        order = sorted(range(len(rows)), key=lambda row: (depth[row], len(rows[row])))
        whole = [row for row in order if shared[row] < 0]
        for batch in batches(whole, rows, depth, self._tokens_per_batch):
            tokens, last = padded(self._subject, [rows[row] for row in batch])
            self._spent.add(last + 1, last + 1)
            visitors = self._visitors([asked[row] for row in batch], last, queries, answers)
            self._subject.visit(tokens, visitors, torch.ones_like(tokens))
        after = [row for row in order if shared[row] >= 0]
        after.sort(key=lambda row: (depth[row], shared[row], rows[row][: shared[row]].tobytes()))
        kind = depth * (1 + self._subject.n_ctx) + shared
        for batch in batches(after, rows, kind, self._tokens_per_batch):
            self._read_after(rows, batch, int(shared[batch[0]]), asked, queries, answers)
        return answers

    def _shared(
        self, queries: Sequence[Query], rows: list[np.ndarray], row_of: list[int]
    ) -> Int[np.ndarray, " row"]:
        """How many of each row's first tokens are computed once for several rows; -1 for a row by itself."""
        shared = np.full(len(rows), -1, dtype=np.int64)
        if not self._subject.caches:
            return shared
        offset = self._subject.row_layout.offset
        for query, row in zip(queries, row_of, strict=True):
            if query.shared is not None and query.shared + offset > 0:
                shared[row] = max(shared[row], query.shared)
        shared[[len(row) + offset > self._subject.n_ctx for row in rows]] = -1
        prefixes = [(n, row[: max(n, 0)].tobytes()) for n, row in zip(shared.tolist(), rows, strict=True)]
        alone = {prefix for prefix, n in Counter(prefixes).items() if n == 1}
        shared[[prefix in alone for prefix in prefixes]] = -1
        return shared

    def _read_after(
        self,
        rows: list[np.ndarray],
        batch: list[int],
        shared: int,
        asked: list[list[int]],
        queries: Sequence[Query],
        answers: np.ndarray,
    ) -> None:
        """Reads rows whose first `shared` tokens several have in common: those are run once."""
        prefixes, prefix_of = _distinct([rows[row][:shared] for row in batch])
        ends = [rows[row][shared:] for row in batch]
        tokens = torch.from_numpy(_right_padded(ends))
        before = torch.tensor([self._subject.with_bos(prefix.tolist()) for prefix in prefixes])
        last = torch.tensor([len(end) - 1 for end in ends])
        first = [prefix_of.index(number) for number in range(len(prefixes))]
        self._spent.add(last + 1, last + 1 + before.shape[1])
        self._spent.add(torch.full((len(first),), before.shape[1]), (last + 1 + before.shape[1])[first])
        device = self._subject.device
        visitors = self._visitors([asked[row] for row in batch], last.to(device), queries, answers, False)
        self._subject.visit_after(before, torch.tensor(prefix_of), tokens, visitors)

    def _visitors(
        self,
        asked: list[list[int]],
        last: Int[Tensor, " row"],
        queries: Sequence[Query],
        answers: np.ndarray,
        from_start: bool = True,
    ) -> dict[Site, Callable[[Tensor], None]]:
        skipped = (last == 0) & (self._subject.row_layout.skip_first and from_start)
        wanted: dict[Site, dict[str, list[tuple[int, int]]]] = {}
        spaces: dict[str, ReadableFeatures] = {}
        for row, numbers in enumerate(asked):
            for number in numbers:
                space = self._features[queries[number].feature].space
                spaces[space.name] = space
                wanted.setdefault(space.site, {}).setdefault(space.name, []).append((row, number))

        def read_at(site: Site) -> Callable[[Tensor], None]:
            def read(activation: Tensor) -> None:
                at_last = activation[torch.arange(len(last), device=activation.device), last]
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

        return {site: read_at(site) for site in wanted}


class NearestTokens:
    """The `Propose` of a subject: the nearest tokens in its unembedding, by cosine of the centred columns."""

    def __init__(self, subject: Subject, nearest: int = 12) -> None:
        self._subject = subject
        self._nearest = nearest
        self._special = sorted({*subject.special_ids, *([] if subject.bos_id is None else [subject.bos_id])})

    def __call__(self, tokens: Int[np.ndarray, " token"]) -> Int[np.ndarray, "token near"]:
        """Returns candidates for each token: nearest first, none special, never itself."""
        directions = self._directions
        count = min(self._nearest, self._subject.d_vocab - 1)

        def measure(ids: Tensor) -> tuple[Tensor]:
            cosine = directions[:, ids].T @ directions
            cosine[torch.arange(len(ids)), ids] = -torch.inf
            cosine[:, self._special] = -torch.inf
            return (cosine.topk(count, dim=-1).indices,)

        ids = torch.from_numpy(tokens.astype(np.int64)).to(directions.device)
        (nearest,) = in_blocks(measure, self._subject.d_vocab, ids)
        found: Int[np.ndarray, "token near"] = nearest.cpu().numpy()
        return found

    @cached_property
    def _directions(self) -> Float[Tensor, "d_model d_vocab"]:
        columns = self._subject.unembedding().float()
        directions = columns - columns.mean(dim=1, keepdim=True)
        return directions.div_(directions.norm(dim=0, keepdim=True).clamp(min=1e-12))


def padded(
    subject: Subject, rows: Sequence[np.ndarray]
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, " row"]]:
    """Adds a BOS to rows, cuts them on the left, pads them on the right; returns also their last places.

    The padding is after the last token, where a causal model cannot attend to it.
    """
    room = subject.n_ctx - subject.row_layout.offset
    inputs = [subject.with_bos(row[-room:].tolist()) for row in rows]
    last = torch.tensor([len(row) - 1 for row in inputs])
    return torch.from_numpy(_right_padded(inputs)).to(subject.device), last.to(subject.device)


def _right_padded(rows: Sequence[Sequence[int] | np.ndarray]) -> Int[np.ndarray, "row pos"]:
    table = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


def _distinct(rows: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
    """Returns the distinct rows, and the index of each row among them."""
    numbers: dict[bytes, int] = {}
    row_of = [numbers.setdefault(row.astype(np.int64).tobytes(), len(numbers)) for row in rows]
    first: dict[int, np.ndarray] = {}
    for row, number in zip(rows, row_of, strict=True):
        first.setdefault(number, row)
    return [first[number] for number in range(len(numbers))], row_of


def batches(
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


def site_depth(site: Site) -> int:
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
