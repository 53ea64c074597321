"""Edge attribution: estimates, for every edge of a graph at once, of what corrupting it does to the metric.

Attribution patching of edges (EAP; Syed et al. 2023, arXiv 2310.10348), with integrated gradients (EAP-IG;
Hanna et al. 2024, arXiv 2403.17806), on a linearised model (RelP; Jafari et al. 2025, arXiv 2508.21258), and
exact edge patching, which they approximate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal, get_args

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.gradients import Gradients, metric_gradients, moved
from interp.circuits.graph import Graph
from interp.circuits.pairs import Pairs
from interp.circuits.patched import patched_each
from interp.circuits.wiring import START, Wiring
from interp.circuits.written import Corrupted, Corruption, Written, written_in
from interp.errors import UserError
from interp.subject.forward import ForwardPass
from interp.subject.frozen_norm import FrozenNorm
from interp.subject.linearised import Rule
from interp.subject.passes import Edit
from interp.subject.reader import InputPoint
from interp.subject.site import Site

Method = Literal["eap", "eap_ig_inputs", "eap_ig_activations", "clean_corrupted", "linearised", "exact"]
EDGES_AT_ONCE = 256
BLOCK_BYTES = 64 * 2**20
"""Memory for the vectors of sources and readers of a block of positions."""


@dataclass(frozen=True, eq=False, repr=False)
class EdgeScores:
    """What corrupting each edge does to the metric, on average over pairs: [source, reader].

    By position [pos, source, reader], if positions were kept. An edge that matters has a negative score where
    the metric is high for clean prompts. Zero where the graph has no edge.
    """

    graph: Graph
    values: Float[Tensor, "*pos source reader"]
    method: Method
    metric: str

    def __repr__(self) -> str:
        return f"EdgeScores({self.method}, {self.graph.n_edges} edges, of the {self.metric})"

    def table(self, k: int | None = None) -> pd.DataFrame:
        """The edges by the size of their scores, summed over positions: edge, source, reader, score."""
        values = self.values.sum(0) if self.values.ndim == 3 else self.values
        places = self.graph.exists.nonzero()
        scores = values.cpu()[places[:, 0], places[:, 1]]
        order = scores.abs().argsort(descending=True, stable=True)[:k]
        sources = [self.graph.sources[place] for place in places[order, 0].tolist()]
        readers = [self.graph.readers[place] for place in places[order, 1].tolist()]
        edges = [f"{source}->{reader}" for source, reader in zip(sources, readers, strict=True)]
        return pd.DataFrame(
            {"edge": edges, "source": sources, "reader": readers, "score": scores[order].tolist()}
        )


def edge_scores(
    wiring: Wiring,
    pairs: Pairs,
    method: Method = "eap_ig_inputs",
    *,
    corruption: Corruption = "pair",
    steps: int = 5,
    positions: bool = False,
    rows_at_once: int = 32,
) -> EdgeScores:
    """Scores every edge u -> v by (corrupted_u - clean_u) . dT/d(input of v), summed over positions.

    The gradient is that of the metric T at the clean prompts (`eap`); its mean over `steps` points k / steps
    from the corrupted input (k = 0) towards the clean one (`eap_ig_inputs`), or over points between corrupted
    and clean outputs of one layer's heads, MLP or the input after the other, for the edges from these
    (`eap_ig_activations`); the mean of the gradients at both ends (`clean_corrupted`); or that of the model
    with the scales of its norms and its attention patterns held, and its gates by RelP (`linearised`: edges
    into queries and keys have none, hence zero). `exact` runs every edge corrupted by itself: T(patched) -
    T(clean). With `positions`, each position has edges of its own.

    Takes one pass over the clean and one over the corrupted prompts, and one with gradients for each point at
    which they are taken. Nothing is kept for each head and all positions: blocks of positions are worked
    through (`BLOCK_BYTES`).

    Raises:
        UserError: before the model runs, there is no such method or corruption, or positions are kept of
            pairs of different lengths.
    """
    if method not in get_args(Method):
        raise UserError(f"{method!r} is no method", "method", f"use one of {', '.join(get_args(Method))}")
    if steps < 1:
        raise UserError(f"{steps} steps are no path", "steps", "use at least one")
    if positions and method == "exact":
        raise UserError(
            "edges are not patched one by one at each position",
            "positions",
            "use a gradient method with positions, or exact patching without",
        )
    if positions:
        pairs.check_one_length("positions", "sum over positions")
    corrupted = Corrupted(wiring, pairs, corruption, rows_at_once)
    shape = wiring.graph.exists.shape
    width = pairs.clean.tokens.shape[1]
    total = torch.zeros(*([width] if positions else []), *shape, dtype=torch.float64)
    for batch in pairs.batches(rows_at_once):
        clean, logits = written_in(wiring, batch.clean)
        scorer = _Scorer(wiring, batch, clean, corrupted.of(batch, clean), logits, positions)
        total += scorer.scores(method, steps, rows_at_once).cpu()
    exists = wiring.graph.exists
    values = torch.where(exists, total / len(pairs), 0)
    return EdgeScores(wiring.graph, values, method, pairs.metric)


class _Scorer:
    """Scores the edges for one batch of pairs: sums over its pairs."""

    def __init__(
        self,
        wiring: Wiring,
        pairs: Pairs,
        clean: Written,
        corrupted: Written,
        clean_logits: Float[Tensor, "batch d_vocab"],
        positions: bool,
    ) -> None:
        self.wiring, self.pairs, self.positions = wiring, pairs, positions
        self.clean, self.corrupted, self.clean_logits = clean, corrupted, clean_logits
        self.change = corrupted.less(clean, pairs.clean.real)

    def scores(self, method: Method, steps: int, rows_at_once: int) -> Float[Tensor, "*pos source reader"]:
        """The scores by a method."""
        if method == "exact":
            return self._exact(rows_at_once)
        if method == "eap_ig_activations":
            return self._along_activations(steps)
        if method == "clean_corrupted":
            both = self._gradients(self.pairs.clean), self._gradients(self.pairs.corrupted)
            return (self._contracted(both[0]) + self._contracted(both[1])) / 2
        if method == "eap_ig_inputs":
            return self._along(START, self.change.start, steps)
        if method == "linearised":
            prompts, subject = self.pairs.clean, self.wiring.subject
            half: dict[int, Rule] = {layer: "half" for layer in range(subject.n_layers)}
            with subject.linearised(prompts.tokens, prompts.real.long(), mlps=half):
                gradients = self._gradients(prompts)
            return self._contracted(gradients, held=True)
        return self._contracted(self._gradients(self.pairs.clean))

    def _along_activations(self, steps: int) -> Float[Tensor, "*pos source reader"]:
        """Integrates along the outputs of one group of sources after the other, all others clean."""
        groups = [self._along(site, change, steps)[..., places, :] for site, places, change in self._groups()]
        return torch.cat(groups, -2)

    def _along(
        self, site: Site, change: Float[Tensor, "batch pos d_model"], steps: int
    ) -> Float[Tensor, "*pos source reader"]:
        """Averages the scores over points from the corrupted to the clean output at a site."""
        points = [
            self._contracted(self._gradients(self.pairs.clean, {site: moved(change, 1 - step / steps)}))
            for step in range(steps)
        ]
        return torch.stack(points).mean(0)

    def _groups(self) -> Iterator[tuple[Site, slice, Float[Tensor, "batch pos d_model"]]]:
        """Yields the sources that are moved together: where, which, and by how much."""
        graph = self.wiring.graph
        yield START, slice(0, 1), self.change.start
        for layer, writer in enumerate(self.wiring.heads):
            heads = writer.vectors(self.change.heads[layer]).sum(2)
            yield Site("attn_out", layer), graph.heads(layer), heads
            yield Site("mlp_out", layer), graph.mlp(layer), self.change.mlps[layer]

    def _gradients(self, prompts: ForwardPass, edits: Mapping[Site, Edit] | None = None) -> Gradients:
        points: list[InputPoint | Site] = [*self.wiring.readers, self.wiring.end]
        return metric_gradients(self.wiring, self.pairs, prompts, self.clean_logits, points, edits)

    def _contracted(self, gradients: Gradients, held: bool = False) -> Float[Tensor, "*pos source reader"]:
        """Multiplies what sources change by the gradients at what readers read, block after block.

        With `held`, the scales of the norms that they read through are constants.
        """
        graph, d_model = self.wiring.graph, self.wiring.subject.d_model
        batch, width, _ = self.change.start.shape
        per_column = 4 * batch * d_model * (len(graph.sources) + 2 * graph.n_heads)
        columns = max(1, BLOCK_BYTES // per_column)
        blocks = (
            self._block(gradients, slice(first, min(first + columns, width)), held)
            for first in range(0, width, columns)
        )
        return torch.cat(list(blocks)) if self.positions else reduce(torch.add, blocks)

    def _block(self, gradients: Gradients, columns: slice, held: bool) -> Float[Tensor, "*pos source reader"]:
        graph = self.wiring.graph
        change = self.change.vectors(columns).float()
        shape = (change.shape[2],) if self.positions else ()
        found = change.new_zeros(*shape, len(graph.sources), len(graph.readers))
        normed: dict[tuple[Site, FrozenNorm], tuple[Tensor, Tensor]] = {}
        for point, gradient in gradients.at.items():
            if isinstance(point, Site):
                places = slice(len(graph.readers) - 1, len(graph.readers))
                back = gradient[None, :, columns].float()
            else:
                reader = self.wiring.readers[point]
                places = graph.reads(point.part, point.layer)
                scale = centred = None
                if reader.frozen is not None:
                    key = reader.site, reader.frozen
                    if key not in normed:
                        stream = gradients.streams[reader.site][:, columns].float()
                        scale = reader.frozen.scale(stream.flatten(0, 1)).view(stream.shape[:2])
                        normed[key] = scale, reader.frozen.centre(stream)
                    scale, centred = normed[key]
                back = reader.pulled_back(gradient[:, columns], scale, None if held else centred)
            before = graph.n_before(places.start)
            found[..., :before, places] = self._products(change[:before], back)
        return found

    def _products(
        self,
        change: Float[Tensor, "source batch columns width"],
        back: Float[Tensor, "head batch columns width"],
    ) -> Float[Tensor, "*pos source head"]:
        """Sums the products over prompts and positions, or over prompts alone."""
        if self.positions:
            return torch.einsum("sbpd,hbpd->psh", change, back)
        return change.flatten(1) @ back.flatten(1).T

    def _exact(self, rows_at_once: int) -> Float[Tensor, "source reader"]:
        """Corrupts every edge by itself."""
        graph = self.wiring.graph
        clean = self.pairs.value(self.clean_logits, self.clean_logits)
        found = torch.zeros(graph.exists.shape, dtype=torch.float64)
        for edges in torch.split(graph.exists.nonzero(), EDGES_AT_ONCE):
            kept = graph.exists.repeat(len(edges), 1, 1)
            kept[torch.arange(len(edges)), edges[:, 0], edges[:, 1]] = False
            values = patched_each(
                self.wiring, self.pairs, kept, self.corrupted, self.clean_logits, rows_at_once
            )
            found[edges[:, 0], edges[:, 1]] = (values - clean).sum(1).double().cpu()
        return found
