"""Circuits: the edges of a graph that are kept, how they are chosen by their scores, and their files."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.circuits.edge_attribution import EdgeScores
from interp.circuits.graph import INPUT, LOGITS, Graph
from interp.errors import UserError
from interp.json_text import read_json
from interp.track.files import write_json

Choice = Literal["top", "greedy"]


@dataclass(frozen=True, eq=False, repr=False)
class Circuit:
    """The edges that are kept [source, reader], or [pos, source, reader] of each position."""

    graph: Graph
    kept: Bool[Tensor, "*pos source reader"]

    def __post_init__(self) -> None:
        if self.kept.shape[-2:] != self.graph.exists.shape:
            raise UserError(
                f"edges of shape {tuple(self.kept.shape)} are not of this graph, "
                f"{tuple(self.graph.exists.shape)}",
                "circuit",
                "use the graph that they were scored on",
            )

    def __repr__(self) -> str:
        of = self.kept.shape[:-2].numel() * self.graph.n_edges
        return f"Circuit({self.n_edges} of {of} edges, {len(self.nodes)} nodes)"

    @property
    def n_edges(self) -> int:
        """How many edges are kept."""
        return int(self.kept.sum())

    @property
    def edges(self) -> list[str]:
        """The names of the edges kept, at any position."""
        return self.graph.edge_names(self._anywhere)

    @property
    def nodes(self) -> list[str]:
        """The nodes that an edge leaves, and the logits if one reaches them."""
        found = [name for name, used in zip(self.graph.sources, self._anywhere.any(1), strict=True) if used]
        return [*found, LOGITS] if bool(self._anywhere[:, -1].any()) else found

    @property
    def _anywhere(self) -> Bool[Tensor, "source reader"]:
        return self.kept.any(0) if self.kept.ndim == 3 else self.kept

    def pruned(self) -> "Circuit":
        """Drops every edge that is on no path of kept edges from the input to the logits."""
        kept = self.kept if self.kept.ndim == 3 else self.kept[None]
        while True:
            reached, needed = _reached(self.graph, kept), _needed(self.graph, kept)
            fewer = kept & reached[..., None] & needed[:, None]
            if bool((fewer == kept).all()):
                return Circuit(self.graph, fewer.view_as(self.kept))
            kept = fewer

    def complement(self) -> "Circuit":
        """The edges that are not kept."""
        return Circuit(self.graph, self.graph.exists & ~self.kept)

    def to_json(self) -> dict[str, Any]:
        """The graph's shape and the names of the edges; by position, if positions are kept."""
        if self.kept.ndim == 2:
            return {"graph": self.graph.to_json(), "edges": self.edges}
        by_position = [self.graph.edge_names(kept) for kept in self.kept]
        return {"graph": self.graph.to_json(), "edges_by_position": by_position}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Circuit":
        """Reads what `to_json` gave."""
        graph = Graph.from_json(found["graph"])
        if "edges" in found:
            return cls(graph, graph.of_edges(found["edges"]))
        return cls(graph, torch.stack([graph.of_edges(names) for names in found["edges_by_position"]]))


def top_edges(scores: EdgeScores, n: int) -> Circuit:
    """Keeps the `n` edges of the largest scores, by size; what dangles is not dropped (`pruned`)."""
    kept = torch.zeros_like(scores.values, dtype=torch.bool)
    places = _places(scores)
    sizes = scores.values[places].abs()
    order = sizes.argsort(descending=True, stable=True)[:n]
    kept[tuple(axis[order] for axis in places)] = True
    return Circuit(scores.graph, kept)


def above(scores: EdgeScores, threshold: float) -> Circuit:
    """Keeps the edges whose score has at least this size."""
    return Circuit(scores.graph, scores.graph.exists & (scores.values.abs() >= threshold))


def greedy_edges(scores: EdgeScores, n: int) -> Circuit:
    """Keeps `n` edges, each time the one of the largest score among those into nodes that are in the circuit.

    Begins with the logits, so nothing is kept that does not lead there (the greedy search of the EAP-IG
    repository). A group's key or value is in the circuit with any of its heads.
    """
    if scores.values.ndim == 3:
        raise UserError("greedy search sums over positions", "greedy", "use top, or scores without positions")
    graph = scores.graph
    kept = torch.zeros_like(graph.exists)
    place = {name: index for index, name in enumerate(graph.nodes)}
    readers_of = [graph.feeds[:, node].nonzero()[:, 0].tolist() for node in range(len(graph.nodes))]
    sizes = scores.values.abs()
    waiting: list[tuple[float, int, int]] = []
    seen: set[int] = set()

    def add(node: int) -> None:
        for reader in readers_of[node]:
            if reader not in seen:
                seen.add(reader)
                for source in graph.exists[:, reader].nonzero()[:, 0].tolist():
                    heapq.heappush(waiting, (-float(sizes[source, reader]), source, reader))

    add(place[LOGITS])
    while waiting and n > 0:
        _, source, reader = heapq.heappop(waiting)
        kept[source, reader] = True
        n -= 1
        if graph.sources[source] != INPUT:
            add(source)
    return Circuit(graph, kept)


def random_edges(like: Circuit, rng: torch.Generator) -> Circuit:
    """Draws as many edges as a circuit has, of each kind of reader (q, k, v, MLP, logits) as many."""
    graph = like.graph
    kinds = [reader.partition("<")[2] or reader[0] for reader in graph.readers]
    kept = torch.zeros_like(like.kept)
    for kind in dict.fromkeys(kinds):
        columns = torch.tensor([one == kind for one in kinds])
        places = (graph.exists & columns).expand_as(like.kept).nonzero(as_tuple=True)
        count = int(like.kept[..., columns].sum())
        drawn = torch.randperm(len(places[0]), generator=rng)[:count]
        kept[tuple(axis[drawn] for axis in places)] = True
    return Circuit(graph, kept)


def write_circuit(circuit: Circuit, path: Path) -> None:
    """Writes a circuit as JSON."""
    write_json(path, circuit.to_json())


def read_circuit(path: Path) -> Circuit:
    """Reads what `write_circuit` wrote.

    Raises:
        UserError: the file is not a circuit.
    """
    fix = "give a file that interp wrote"
    found = read_json(path, fix)
    try:
        return Circuit.from_json(found)
    except (KeyError, TypeError, ValueError):
        raise UserError("it is no circuit", str(path), fix) from None


def _places(scores: EdgeScores) -> tuple[Int[Tensor, " edge"], ...]:
    found: tuple[Tensor, ...] = scores.graph.exists.expand_as(scores.values).nonzero(as_tuple=True)
    return found


def _reached(graph: Graph, kept: Bool[Tensor, "pos source reader"]) -> Bool[Tensor, "pos source"]:
    """Which sources the input reaches through kept edges; attention carries from earlier positions on."""
    reached = torch.zeros(kept.shape[:2], dtype=torch.bool)
    reached[:, 0] = True
    feeds, moves = graph.feeds[:, :-1], _moves(graph)
    for source in range(1, len(graph.sources)):
        readers = feeds[:, source]
        arriving = (kept[:, :, readers] & reached[..., None]).any(1)
        there = arriving.any(1)
        moved = arriving[:, moves[readers]].any(1).long().cumsum(0) > 0
        reached[:, source] = there | moved
    return reached


def _needed(graph: Graph, kept: Bool[Tensor, "pos source reader"]) -> Bool[Tensor, "pos reader"]:
    """Which readers lead to the logits through kept edges."""
    needed = torch.zeros(kept.shape[0], kept.shape[2], dtype=torch.bool)
    needed[:, -1] = True
    moves = _moves(graph)
    for source in reversed(range(len(graph.sources))):
        leads = (kept[:, source] & needed).any(1)
        later = leads.flip(0).long().cumsum(0).flip(0) > 0
        for reader in graph.feeds[:, source].nonzero()[:, 0].tolist():
            needed[:, reader] |= later if bool(moves[reader]) else leads
    return needed


def _moves(graph: Graph) -> Bool[Tensor, " reader"]:
    """Which readers are read at one position for later ones: keys and values."""
    return torch.tensor([reader.endswith(("<k>", "<v>")) for reader in graph.readers])
