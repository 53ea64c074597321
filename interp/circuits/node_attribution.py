"""Node attribution: what corrupting the output of a head or an MLP does to the metric."""

from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.gradients import metric_gradients, moved
from interp.circuits.graph import Graph
from interp.circuits.pairs import Pairs
from interp.circuits.patched import patched_each
from interp.circuits.wiring import START, Wiring
from interp.circuits.written import Corrupted, Corruption, Written, written_in
from interp.errors import UserError
from interp.subject.site import Site

NodeMethod = Literal["attribution_patching", "ig_inputs", "exact"]


@dataclass(frozen=True, eq=False, repr=False)
class NodeScores:
    """What corrupting each source does to the metric, [source, pair]; by size, the mean over pairs."""

    graph: Graph
    values: Float[Tensor, "source pair"]
    method: NodeMethod
    metric: str

    def __repr__(self) -> str:
        return f"NodeScores({self.method}, {len(self.graph.sources)} sources, of the {self.metric})"

    def table(self, k: int | None = None) -> pd.DataFrame:
        """The sources by the size of their mean score: node, layer, score."""
        mean = self.values.mean(1)
        order = mean.abs().argsort(descending=True, stable=True)[:k]
        names = [self.graph.sources[place] for place in order.tolist()]
        return pd.DataFrame(
            {"node": names, "layer": list(map(self.graph.layer, names)), "score": mean[order].tolist()}
        )


def node_scores(
    wiring: Wiring,
    pairs: Pairs,
    method: NodeMethod = "exact",
    *,
    corruption: Corruption = "pair",
    steps: int = 5,
    rows_at_once: int = 32,
) -> NodeScores:
    """Scores every source for every pair.

    `exact` is activation patching: T(the source's output corrupted, for all that read it) - T(clean) (Vig et
    al. 2020, arXiv 2004.12265). `attribution_patching` estimates it by (corrupted - clean) . dT/d(output) at
    the clean prompts (Nanda 2023), `ig_inputs` with the mean gradient over `steps` points between corrupted
    and clean input. Features within an MLP are scored by `interp.attribution`, over any feature space.

    Raises:
        UserError: there is no such method or corruption.
    """
    if method not in get_args(NodeMethod):
        raise UserError(f"{method!r} is no method", "method", f"use one of {', '.join(get_args(NodeMethod))}")
    corrupted, graph = Corrupted(wiring, pairs, corruption, rows_at_once), wiring.graph
    found = []
    for batch in pairs.batches(rows_at_once):
        clean, logits = written_in(wiring, batch.clean)
        replaced = corrupted.of(batch, clean)
        if method == "exact":
            each = [graph.exists & ~graph.of_nodes([name]) for name in graph.sources]
            values = patched_each(wiring, batch, torch.stack(each), replaced, logits, rows_at_once)
            found.append(values - batch.value(logits, logits))
        else:
            shares = [1 - step / steps for step in range(steps)] if method == "ig_inputs" else [0.0]
            found.append(_estimated(wiring, batch, replaced.less(clean, batch.clean.real), logits, shares))
    return NodeScores(graph, torch.cat(found, 1).double().cpu(), method, pairs.metric)


def _estimated(
    wiring: Wiring,
    pairs: Pairs,
    change: Written,
    logits: Float[Tensor, "batch d_vocab"],
    shares: list[float],
) -> Float[Tensor, "source batch"]:
    """Multiplies what sources change by the mean gradient at their outputs."""
    layers = range(wiring.graph.n_layers)
    outputs = [Site(kind, layer) for layer in layers for kind in ("attn_out", "mlp_out")]
    runs = [
        metric_gradients(
            wiring, pairs, pairs.clean, logits, [START, *outputs], {START: moved(change.start, share)}
        )
        for share in shares
    ]

    def mean(site: Site) -> Float[Tensor, "batch pos d_model"]:
        return torch.stack([run.at[site].float() for run in runs]).mean(0)

    found = [(change.start * mean(START)).sum((1, 2))[None]]
    for layer, writer in enumerate(wiring.heads):
        heads = writer.vectors(change.heads[layer])
        found.append(torch.einsum("bphd,bpd->hb", heads.float(), mean(Site("attn_out", layer))))
        found.append((change.mlps[layer] * mean(Site("mlp_out", layer))).sum((1, 2))[None])
    return torch.cat(found)
