"""Supernodes: nodes of a graph that mean the same, taken as one (Ameisen et al. 2025, Circuit Tracing)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.attribution_graphs.graph import AttributionGraph
from interp.circuits.attribution_graphs.pruning import Pruned, influence, normalised
from interp.embed.embedder import Embedder
from interp.errors import UserError
from interp.monitor.groups import DISTANCE, Item, groups
from interp.monitor.knowledge import Knowledge
from interp.store.rows import FeatureRow


@dataclass(frozen=True)
class Supernode:
    """Nodes of a graph under one name, by their keys."""

    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Collapsed:
    """A graph whose nodes are supernodes, and every node that is in none.

    `effects` [target, source] sums the direct effects between members: what a source's members add to all of
    a target's. `flow` sums the edges' influence on the logits, which is comparable between targets: the
    share of a logit that comes along these edges, signs left out. Effects within a supernode are on the
    diagonal. Nodes and edges are those that pruning kept.
    """

    names: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    effects: Float[Tensor, "target source"]
    flow: Float[Tensor, "target source"]


def described(graph: AttributionGraph, knowledge: Knowledge) -> AttributionGraph:
    """The graph with the short descriptions of its features as labels, as far as a store knows them.

    A feature with a negative activation has the description of its negative side.
    """
    keys = [
        FeatureRow(node.space, node.feature, -1 if node.value < 0 else 1).key
        if node.kind == "feature"
        else ""
        for node in graph.nodes
    ]
    known = knowledge.of(key for key in keys if key)
    nodes = [
        replace(node, label=known[key].short) if key else node
        for node, key in zip(graph.nodes, keys, strict=True)
    ]
    return replace(graph, nodes=tuple(nodes))


def by_meaning(
    pruned: Pruned, embedder: Embedder, *, distance: float = DISTANCE, smallest: int = 2
) -> tuple[Supernode, ...]:
    """Groups the kept features of a `described` graph by the meaning of their labels.

    Average linkage on the cosine distance (`interp.monitor.groups`); the most influential group comes first.
    A feature without a label, or far from all others, is in none.

    Raises:
        UserError: as `groups`.
    """
    nodes = pruned.graph.nodes
    weights = _through(pruned)
    items = [
        Item(nodes[i].key, nodes[i].label, float(weights[i]))
        for i in pruned.nodes.nonzero()[:, 0].tolist()
        if nodes[i].kind == "feature"
    ]
    found = groups(items, embedder, distance=distance, smallest=smallest)
    return tuple(Supernode(group.name, group.keys) for group in found.groups)


def by_hand(graph: AttributionGraph, named: Mapping[str, Sequence[str]]) -> tuple[Supernode, ...]:
    """Makes supernodes from names and the keys of their nodes.

    Raises:
        UserError: the graph has no such node, or one is in two supernodes.
    """
    seen: set[str] = set()
    for name, keys in named.items():
        for key in keys:
            graph.place(key)
            if key in seen:
                raise UserError(f"{key} is in two supernodes", f"supernode {name}", "name it in one")
            seen.add(key)
    return tuple(Supernode(name, tuple(keys)) for name, keys in named.items())


def collapse(pruned: Pruned, supernodes: Sequence[Supernode]) -> Collapsed:
    """Takes each supernode's nodes as one; those that pruning removed, errors among them, are left out."""
    graph = pruned.graph
    of = {key: index for index, one in enumerate(supernodes) for key in one.keys}
    names = [one.name for one in supernodes]
    members: list[list[str]] = [[] for _ in supernodes]
    kept = pruned.nodes.nonzero()[:, 0].tolist()
    column = []
    for place in kept:
        key = graph.nodes[place].key
        if key not in of:
            of[key] = len(names)
            names.append(graph.nodes[place].label or key)
            members.append([])
        members[of[key]].append(key)
        column.append(of[key])
    into = torch.zeros(len(kept), len(names))
    into[torch.arange(len(kept)), column] = 1
    edges = torch.where(pruned.edges, graph.adjacency, 0)
    shares = normalised(edges)
    flow = shares * _through(pruned)[:, None]

    def summed(matrix: Float[Tensor, "node node"]) -> Float[Tensor, "group group"]:
        return into.T @ matrix[kept][:, kept] @ into

    return Collapsed(tuple(names), tuple(map(tuple, members)), summed(edges), summed(flow))


def _through(pruned: Pruned) -> Float[Tensor, " node"]:
    """The influence of nodes along the kept edges, and of logits their own probability."""
    weights = pruned.graph.logit_weights
    return influence(normalised(torch.where(pruned.edges, pruned.graph.adjacency, 0)), weights) + weights
