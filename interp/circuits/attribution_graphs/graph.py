"""An attribution graph: nodes of one prompt, and what each adds directly to each other one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import UserError

Kind = Literal["feature", "error", "embedding", "bias", "logit"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Node:
    """A feature, an error of a layer, a token's embedding, a logit (at one position each), or all biases.

    `feature` is the feature's id in `space`, or the token's id of embeddings and logits. `value` is a
    feature's activation, or a logit less the mean of all logits, before a soft cap. `probability` is that of
    a logit's token. `label` is shown: a description, or a token's text.
    """

    kind: Kind
    layer: int = -1
    position: int = -1
    feature: int = -1
    space: str = ""
    value: float = 0.0
    probability: float = 0.0
    label: str = ""

    @property
    def key(self) -> str:
        """A name that is unique in a graph."""
        match self.kind:
            case "feature":
                return f"{self.space}/{self.feature}@{self.position}"
            case "error":
                return f"error.{self.layer}@{self.position}"
            case "bias":
                return "bias"
        return f"{self.kind}/{self.feature}@{self.position}"


@dataclass(frozen=True, eq=False)
class AttributionGraph:
    """Nodes in the order of `KINDS`, and `adjacency` [target, source]: the direct effect of source on target.

    A row's sum is its target's value: what features, errors, embeddings and biases add to it through the
    residual stream and held attention. Only features and logits are targets. `n_active` counts the features
    that were active, of which those with the largest influence are nodes; the others are part of the errors.
    """

    model: str
    prompt: str
    tokens: tuple[int, ...]
    words: tuple[str, ...]
    nodes: tuple[Node, ...]
    adjacency: Float[Tensor, "target source"]
    n_active: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        counts = ", ".join(f"{int(self.of_kind(kind).sum()):,} {kind}" for kind in KINDS)
        return f"AttributionGraph({self.prompt!r}: {counts}; {self.n_active:,} features were active)"

    def of_kind(self, *kinds: Kind) -> Bool[Tensor, " node"]:
        """Which nodes are of these kinds."""
        return torch.tensor([node.kind in kinds for node in self.nodes], dtype=torch.bool)

    @property
    def values(self) -> Float[Tensor, " node"]:
        """The nodes' values; zero for errors, embeddings and biases, which are vectors."""
        return torch.tensor([node.value for node in self.nodes])

    @property
    def logit_weights(self) -> Float[Tensor, " node"]:
        """The probability of each logit's token, at its node; zero at other nodes."""
        return torch.tensor([node.probability for node in self.nodes])

    def place(self, key: str) -> int:
        """The index of the node with this key.

        Raises:
            UserError: there is none.
        """
        if key not in self._places:
            fix = "use the `key` of one of its nodes"
            raise UserError(f"the graph has no node {key!r}", "attribution graph", fix)
        return self._places[key]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {node.key: place for place, node in enumerate(self.nodes)}

    def sources(self, key: str, n: int = 20) -> pd.DataFrame:
        """The `n` nodes that add most to a target, by |effect|, with their effects."""
        row = self.adjacency[self.place(key)]
        best = row.abs().topk(min(n, len(row))).indices.tolist()
        return pd.DataFrame(
            [(self.nodes[i].key, self.nodes[i].label, float(row[i])) for i in best if row[i]],
            columns=["key", "label", "effect"],
        )
