"""The graph of a model's parts: who writes to the residual stream, who reads it, and which edges exist."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from interp.errors import UserError
from interp.subject.reader import Part

INPUT, LOGITS = "input", "logits"


@dataclass(frozen=True)
class Graph:
    """Heads and MLPs of every layer, the input, and the logits.

    Sources, in the order of the forward pass, are `input`, and in each layer its heads `a{layer}.h{head}` and
    its MLP `m{layer}`. Readers are, in each layer, a query of each head `a{layer}.h{head}<q>`, a key and a
    value of each group of heads (`<k>`, `<v>`; of each head, if each has its own), the MLP `m{layer}`, and at
    the end `logits`. An edge goes from a source to a reader that comes after it; in `parallel` layers the MLP
    does not read the layer's own heads. Named as in the EAP-IG repository (Hanna et al. 2024, arXiv
    2403.17806), which gives every head of a group a key and a value of its own.
    """

    n_layers: int
    n_heads: int
    n_groups: int
    parallel: bool = False

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The names of the nodes that write."""
        names = [INPUT]
        for layer in range(self.n_layers):
            names += [f"a{layer}.h{head}" for head in range(self.n_heads)] + [f"m{layer}"]
        return tuple(names)

    @cached_property
    def readers(self) -> tuple[str, ...]:
        """The names of the inputs that read."""
        names = []
        grouped = "h" if self.n_groups == self.n_heads else "g"
        for layer in range(self.n_layers):
            names += [f"a{layer}.h{head}<q>" for head in range(self.n_heads)]
            names += [f"a{layer}.{grouped}{group}<{part}>" for part in "kv" for group in range(self.n_groups)]
            names.append(f"m{layer}")
        return (*names, LOGITS)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The sources and `logits`."""
        return (*self.sources, LOGITS)

    @cached_property
    def exists(self) -> Bool[Tensor, "source reader"]:
        """Which edges the model has."""
        written = torch.tensor([self.source_time(name) for name in self.sources])
        read = torch.tensor([self._reader_time(name) for name in self.readers])
        return written[:, None] < read

    @property
    def n_edges(self) -> int:
        """How many edges the model has."""
        return int(self.exists.sum())

    @cached_property
    def feeds(self) -> Bool[Tensor, "reader node"]:
        """Which nodes compute with what a reader has read: a group's key serves all heads of the group."""
        found = torch.zeros(len(self.readers), len(self.nodes), dtype=torch.bool)
        place = {name: index for index, name in enumerate(self.nodes)}
        size = self.n_heads // self.n_groups
        for row, reader in enumerate(self.readers):
            name, _, part = reader.rstrip(">").partition("<")
            if part in ("k", "v"):
                layer, _, group = name.partition(".")
                first = int(group[1:]) * size
                for head in range(first, first + size):
                    found[row, place[f"{layer}.h{head}"]] = True
            else:
                found[row, place[name]] = True
        return found

    def edge(self, name: str) -> tuple[int, int]:
        """The places of an edge's source and reader, of a name such as `a0.h1->a2.h3<k>`.

        Raises:
            UserError: there is no such edge.
        """
        source, _, reader = name.partition("->")
        if source in self.sources and reader in self.readers:
            found = self.sources.index(source), self.readers.index(reader)
            if self.exists[found]:
                return found
        raise UserError(
            f"{name!r} is not an edge of a graph of {self.n_layers} layers of {self.n_heads} heads",
            "edge",
            "write SOURCE->READER, such as input->m0 or a0.h1->a2.h3<k>, with the source before the reader",
        )

    def edge_names(self, kept: Bool[Tensor, "source reader"] | None = None) -> list[str]:
        """The names of edges: of all that exist, or of those kept."""
        places = (self.exists if kept is None else kept).nonzero().tolist()
        return [f"{self.sources[source]}->{self.readers[reader]}" for source, reader in places]

    def of_edges(self, names: Iterable[str]) -> Bool[Tensor, "source reader"]:
        """Marks the edges of these names.

        Raises:
            UserError: there is no such edge.
        """
        kept = torch.zeros_like(self.exists)
        for name in names:
            kept[self.edge(name)] = True
        return kept

    def of_nodes(self, names: Iterable[str]) -> Bool[Tensor, "source reader"]:
        """Marks all edges that leave these sources: what a circuit of whole nodes keeps.

        Raises:
            UserError: there is no such source.
        """
        kept = torch.zeros_like(self.exists)
        for name in names:
            if name not in self.sources:
                raise UserError(f"{name!r} is no source", "circuit", f"use one such as {self.sources[1]}")
            kept[self.sources.index(name)] = True
        return kept & self.exists

    def heads(self, layer: int) -> slice:
        """The places of a layer's heads among the sources."""
        first = 1 + layer * (self.n_heads + 1)
        return slice(first, first + self.n_heads)

    def mlp(self, layer: int) -> slice:
        """The place of a layer's MLP among the sources."""
        after = self.heads(layer).stop
        return slice(after, after + 1)

    def reads(self, part: Part, layer: int) -> slice:
        """The places of the readers of a layer's part."""
        sizes = {"q": self.n_heads, "k": self.n_groups, "v": self.n_groups, "mlp": 1}
        first = layer * sum(sizes.values())
        for name, size in sizes.items():
            if name == part:
                return slice(first, first + size)
            first += size
        raise AssertionError(part)

    def n_before(self, reader: int) -> int:
        """How many sources, from the first on, have written when a reader reads."""
        return int(self.exists[:, reader].sum())

    def layer(self, node: str) -> int:
        """The layer of a node; -1 for the input, and one after the last for the logits."""
        if node == INPUT:
            return -1
        return self.n_layers if node == LOGITS else int(node[1:].partition(".")[0])

    def check(self, other: "Graph", what: str) -> None:
        """Raises UserError if something that belongs to another graph is used with this one."""
        if other != self:
            raise UserError(
                f"{what} belongs to a model of {other.n_layers} layers, {other.n_heads} heads in "
                f"{other.n_groups} groups; this one has {self.n_layers}, {self.n_heads}, {self.n_groups}",
                what,
                "use the model that it was made with",
            )

    def source_time(self, node: str) -> int:
        """When a node has written: 0 for the input, then two steps a layer."""
        layer = self.layer(node)
        return 0 if layer < 0 else 2 * layer + (2 if node.startswith("m") else 1)

    def _reader_time(self, reader: str) -> int:
        """The first step that a reader does not see."""
        name = reader.partition("<")[0]
        layer = self.layer(name)
        if name == LOGITS:
            return 2 * self.n_layers + 1
        return 2 * layer + (2 if name.startswith("m") and not self.parallel else 1)

    def to_json(self) -> dict[str, Any]:
        """The shape, as JSON has it."""
        return {
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "n_groups": self.n_groups,
            "parallel": self.parallel,
        }

    @classmethod
    def from_json(cls, shape: Mapping[str, Any]) -> "Graph":
        """Reads what `to_json` gave."""
        return cls(
            int(shape["n_layers"]), int(shape["n_heads"]), int(shape["n_groups"]), bool(shape["parallel"])
        )
