"""Attribution graphs: what features of a prompt add to each other and to the next token's logits."""

from interp.circuits.attribution_graphs.build import attribution_graph
from interp.circuits.attribution_graphs.graph import AttributionGraph, Node
from interp.circuits.attribution_graphs.interventions import Effects, intervene, predicted_changes
from interp.circuits.attribution_graphs.neuronpedia import GraphFile, graph_file
from interp.circuits.attribution_graphs.pruning import (
    GraphScores,
    Pruned,
    node_influence,
    node_table,
    prune,
    scores,
)
from interp.circuits.attribution_graphs.supernodes import (
    Collapsed,
    Supernode,
    by_hand,
    by_meaning,
    collapse,
    described,
)

__all__ = [
    "AttributionGraph",
    "Collapsed",
    "Effects",
    "GraphFile",
    "GraphScores",
    "Node",
    "Pruned",
    "Supernode",
    "attribution_graph",
    "by_hand",
    "by_meaning",
    "collapse",
    "described",
    "graph_file",
    "intervene",
    "node_influence",
    "node_table",
    "predicted_changes",
    "prune",
    "scores",
]
