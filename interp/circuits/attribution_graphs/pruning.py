"""Influence on the logits along all paths, pruning by it, and the scores of a graph (Ameisen et al. 2025).

A is |adjacency| with rows that sum to one, without biases, which no path goes through. A node's influence is
logit probabilities times (A + A^2 + ...); an edge's is A[t, s] times the influence of t.
"""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.circuits.attribution_graphs.graph import AttributionGraph
from interp.errors import UserError

_SMALLEST = 1e-10


@dataclass(frozen=True, eq=False)
class Pruned:
    """What is left of a graph: its nodes, its edges [target, source], and each node's `cumulative` influence.

    The latter is the share of all influence that the node and all more influential ones have: nodes up to a
    share are kept.
    """

    graph: AttributionGraph
    nodes: Bool[Tensor, " node"]
    edges: Bool[Tensor, "target source"]
    cumulative: Float[Tensor, " node"]

    def __repr__(self) -> str:
        return f"Pruned({int(self.nodes.sum()):,} nodes, {int(self.edges.sum()):,} edges of {self.graph!r})"


@dataclass(frozen=True)
class GraphScores:
    """How much of a graph its features explain.

    `replacement` is the share of end-to-end influence that comes from embeddings rather than errors.
    `completeness` is the share of targets' incoming |effects| that is not from errors, targets weighted by
    their influence. Both are 1 without errors.
    """

    replacement: float
    completeness: float


def normalised(adjacency: Float[Tensor, "target source"]) -> Float[Tensor, "target source"]:
    """The absolute values with each row's sum made one; rows of zeros stay."""
    size = adjacency.abs()
    return size / size.sum(1, keepdim=True).clamp(min=_SMALLEST)


def influence(
    shares: Float[Tensor, "target source"], weights: Float[Tensor, " target"]
) -> Float[Tensor, " source"]:
    """Sums weights times shares, shares^2, ...: of a graph without cycles, which is nilpotent."""
    step = weights @ shares
    total = step.clone()
    for _ in range(len(shares)):
        if not step.any():
            break
        step = step @ shares
        total += step
    return total


def _counted(graph: AttributionGraph) -> Float[Tensor, "target source"]:
    """The adjacency without biases."""
    return graph.adjacency.masked_fill(graph.of_kind("bias"), 0)


def node_influence(graph: AttributionGraph) -> Float[Tensor, " node"]:
    """The influence of each node on the logits, by their probabilities; zero for logits and biases."""
    return influence(normalised(_counted(graph)), graph.logit_weights)


def node_table(graph: AttributionGraph) -> pd.DataFrame:
    """A row for each node: its key, its fields, and its influence; the most influential first."""
    rows = [{"key": node.key, **vars(node)} for node in graph.nodes]
    found = pd.DataFrame(rows).assign(influence=node_influence(graph).numpy())
    return found.sort_values("influence", ascending=False, kind="stable", ignore_index=True)


def scores(graph: AttributionGraph) -> GraphScores:
    """Computes the replacement score and the completeness score."""
    shares = normalised(_counted(graph))
    found = influence(shares, graph.logit_weights)
    errors = graph.of_kind("error")
    ends = found[errors].sum() + found[graph.of_kind("embedding")].sum()
    weight = (found + graph.logit_weights) * graph.of_kind("feature", "logit") * (shares.sum(1) > 0)
    from_errors = shares[:, errors].sum(1)
    return GraphScores(
        float(found[graph.of_kind("embedding")].sum() / ends.clamp(min=_SMALLEST)),
        float(1 - (weight * from_errors).sum() / weight.sum().clamp(min=_SMALLEST)),
    )


def prune(graph: AttributionGraph, nodes: float = 0.8, edges: float = 0.98) -> Pruned:
    """Keeps the nodes, then the edges among them, that have these shares of all influence.

    Embeddings and logits are always kept, biases never. Then features without an edge in or out and errors
    without an edge out are removed, again and again. As circuit-tracer's defaults.

    Raises:
        UserError: a share is not between 0 and 1.
    """
    for name, share in (("nodes", nodes), ("edges", edges)):
        if not 0 <= share <= 1:
            raise UserError(f"{name}={share} is no share of influence", "prune", "give a number from 0 to 1")
    adjacency, weights = _counted(graph), graph.logit_weights
    found = node_influence(graph)
    kept = found >= _threshold(found, nodes)
    kept |= graph.of_kind("embedding", "logit")
    kept &= ~graph.of_kind("bias")
    inside = adjacency * kept[:, None] * kept
    shares = normalised(inside)
    through = shares * (influence(shares, weights) + weights)[:, None]
    kept_edges = (through >= _threshold(through.flatten(), edges)) & (inside != 0)
    kept, kept_edges = _without_danglers(graph, kept, kept_edges)
    order = found.argsort(descending=True)
    cumulative = torch.zeros_like(found)
    cumulative[order] = found[order].cumsum(0) / found.sum().clamp(min=_SMALLEST)
    return Pruned(graph, kept, kept_edges, cumulative)


def _without_danglers(
    graph: AttributionGraph, nodes: Bool[Tensor, " node"], edges: Bool[Tensor, "target source"]
) -> tuple[Bool[Tensor, " node"], Bool[Tensor, "target source"]]:
    feature, error = graph.of_kind("feature"), graph.of_kind("error")
    while True:
        edges = edges & nodes[:, None] & nodes
        alone = (feature | error) & ~edges.any(0) | feature & ~edges.any(1)
        if not (alone & nodes).any():
            return nodes, edges
        nodes = nodes & ~alone


def _threshold(values: Float[Tensor, " n"], share: float) -> Float[Tensor, ""]:
    """The largest threshold such that the values from it on have this share of the sum."""
    ordered = values.sort(descending=True).values
    reached = ordered.cumsum(0, dtype=torch.float64) / ordered.double().sum().clamp(min=_SMALLEST)
    return ordered[min(int(torch.searchsorted(reached, share)), len(ordered) - 1)]
