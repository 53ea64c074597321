"""Attribution graphs as JSON that Neuronpedia's and circuit-tracer's front ends read.

The format is Neuronpedia's `graph-schema.json`: `metadata`, `qParams` (what is pinned, and supernodes),
`nodes` and `links`. Ids are circuit-tracer's: LAYER_FEATURE_POSITION, LAYER_-1_POSITION for errors,
E_TOKEN_POSITION for embeddings, and a layer after the last for logits. A feature is shown under one number
made of its layer and id (Cantor's pairing). Keys that we do not know are kept when a file is written again.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from interp.circuits.attribution_graphs.graph import AttributionGraph, Node
from interp.circuits.attribution_graphs.pruning import Pruned
from interp.circuits.attribution_graphs.supernodes import Supernode
from interp.errors import UserError, quoted
from interp.json_text import read_json
from interp.shape import Shape
from interp.track.files import write_json

FEATURE, ERROR, EMBEDDING, LOGIT = (
    "cross layer transcoder", "mlp reconstruction error", "embedding", "logit",
)  # fmt: skip
_TYPES = {"feature": FEATURE, "error": ERROR, "embedding": EMBEDDING, "logit": LOGIT}
_FIX = "give a file in the format of Neuronpedia's graph-schema.json"
_ID = re.compile(r"(?:E|\d+)_(-?\d+)_\d+")


class _Open(BaseModel):
    """Keys that are not named here are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Metadata(_Open):
    """What a graph is of. `scan` names the model, as Neuronpedia knows it."""

    slug: str
    scan: str
    prompt_tokens: tuple[str, ...]
    prompt: str


class View(_Open):
    """What the front end shows at first: pinned nodes; supernodes, each a name and the ids of its nodes."""

    pinnedIds: tuple[str, ...] = ()
    supernodes: tuple[tuple[str, ...], ...] = ()
    linkType: str = "both"
    clickedId: str = ""
    sg_pos: str = ""


class FileNode(_Open):
    """A node. `influence` is the share of all influence that it and more influential nodes have."""

    node_id: str
    feature: int | None
    layer: str | int
    ctx_idx: int = Field(ge=0)
    feature_type: str
    jsNodeId: str
    clerp: str
    influence: float | None = None
    activation: float | None = None
    token_prob: float = 0.0
    is_target_logit: bool = False


class Link(_Open):
    """The direct effect of one node on another."""

    source: str
    target: str
    weight: float


class GraphFile(_Open):
    """A file; `written` gives its content again."""

    metadata: Metadata
    qParams: View
    nodes: tuple[FileNode, ...]
    links: tuple[Link, ...]

    @classmethod
    def read(cls, path: Path) -> "GraphFile":
        """Reads a file.

        Raises:
            UserError: it is no JSON of this format, an id stands twice, or a link or a supernode names a node
                that is not there.
        """
        found = Shape[GraphFile](cls, strict=False).of(read_json(path, _FIX), str(path), _FIX)
        ids = [node.node_id for node in found.nodes]
        known = set(ids)
        if len(known) < len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise UserError(f"the node {quoted(twice)} stands twice", str(path), _FIX)
        ends = (end for link in found.links for end in (link.source, link.target))
        members = (member for one in found.qParams.supernodes for member in one[1:])
        for end in (*ends, *members, *found.qParams.pinnedIds):
            if end not in known:
                raise UserError(f"there is no node {quoted(end)}", str(path), _FIX)
        return found

    def written(self) -> dict[str, Any]:
        """The content as plain JSON values: what was read or set, without defaults."""
        return self.model_dump(exclude_unset=True, mode="json")

    def write(self, path: Path) -> None:
        """Writes the file, atomically."""
        write_json(path, self.written())

    def pruned(self) -> Pruned:
        """The graph of the file; what its writer left out, such as biases, is missing.

        `space` of a feature is its layer's number, or what we wrote there.

        Raises:
            UserError: a node's type or id is not known.
        """
        order = {kind: place for place, kind in enumerate((FEATURE, ERROR, EMBEDDING, LOGIT))}
        for node in self.nodes:
            if node.feature_type not in order:
                raise UserError(
                    f"nodes of the type {quoted(node.feature_type)} are not known", node.node_id, _FIX
                )
        nodes = sorted(self.nodes, key=lambda node: order[node.feature_type])
        places = {node.node_id: place for place, node in enumerate(nodes)}
        adjacency = torch.zeros(len(nodes), len(nodes))
        for link in self.links:
            adjacency[places[link.target], places[link.source]] = link.weight
        tokens = [-1] * len(self.metadata.prompt_tokens)
        plain = tuple(_node(node, self.metadata.prompt_tokens) for node in nodes)
        for one in plain:
            if one.kind == "embedding":
                tokens[one.position] = one.feature
        graph = AttributionGraph(
            self.metadata.scan,
            self.metadata.prompt,
            tuple(tokens),
            self.metadata.prompt_tokens,
            plain,
            adjacency,
            sum(one.kind == "feature" for one in plain),
        )
        cumulative = torch.tensor([1.0 if node.influence is None else node.influence for node in nodes])
        return Pruned(graph, torch.ones(len(nodes), dtype=torch.bool), adjacency != 0, cumulative)


def graph_file(
    pruned: Pruned,
    slug: str,
    *,
    scan: str | None = None,
    supernodes: Sequence[Supernode] = (),
    pinned: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> GraphFile:
    """Makes the file of what pruning kept of a graph.

    `scan` is the model's name on Neuronpedia (default: the subject's). `pinned` are keys of nodes; the
    members of supernodes are pinned, too. `metadata` is added, such as {"feature_details":
    {"neuronpedia_source_set": "gemmascope-transcoder-16k"}}, from which Neuronpedia shows features.

    Raises:
        UserError: a pinned node or a supernode's is not in the graph.
    """
    graph = pruned.graph
    kept = pruned.nodes.nonzero()[:, 0].tolist()
    ids = {graph.nodes[place].key: _node_id(graph.nodes[place]) for place in kept}
    n_layers = max((node.layer for node in graph.nodes if node.kind == "logit"), default=0)
    logits = [place for place in kept if graph.nodes[place].kind == "logit"]
    best = max(logits, key=lambda place: graph.nodes[place].probability, default=-1)

    def shown(key: str) -> str:
        if key not in ids:
            graph.place(key)
        return ids.get(key, "")

    members = [(one.name, *filter(None, map(shown, one.keys))) for one in supernodes]
    chosen = dict.fromkeys([*filter(None, map(shown, pinned)), *(i for one in members for i in one[1:])])
    nodes = []
    for place in kept:
        node = graph.nodes[place]
        cumulative = None if node.kind == "logit" else float(pruned.cumulative[place])
        nodes.append(_file_node(node, ids[node.key], n_layers, cumulative, place == best))
    targets, sources = pruned.edges.nonzero(as_tuple=True)
    links = [
        Link(source=ids[graph.nodes[s].key], target=ids[graph.nodes[t].key], weight=weight)
        for t, s, weight in zip(
            targets.tolist(), sources.tolist(), graph.adjacency[targets, sources].tolist(), strict=True
        )
    ]
    about = {
        "slug": slug,
        "scan": scan or graph.model,
        "prompt_tokens": graph.words,
        "prompt": graph.prompt,
        "generation_settings": dict(graph.settings),
        **(metadata or {}),
    }
    view = View(pinnedIds=tuple(chosen), supernodes=tuple(members), linkType="both", clickedId="", sg_pos="")
    return GraphFile(
        metadata=Metadata.model_validate(about), qParams=view, nodes=tuple(nodes), links=tuple(links)
    )


def paired(layer: int, feature: int) -> int:
    """Cantor's pairing of a layer and a feature's id: one number for both."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def _node_id(node: Node) -> str:
    match node.kind:
        case "embedding":
            return f"E_{node.feature}_{node.position}"
        case "logit":
            return f"{node.layer + 1}_{node.feature}_{node.position}"
    return f"{node.layer}_{node.feature}_{node.position}"


def _file_node(node: Node, node_id: str, n_layers: int, cumulative: float | None, best: bool) -> FileNode:
    shared: dict[str, Any] = {
        "node_id": node_id,
        "layer": str(node.layer),
        "ctx_idx": node.position,
        "feature_type": _TYPES[node.kind],
        "token_prob": node.probability,
        "is_target_logit": best,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "influence": cumulative,
        "activation": None,
    }
    match node.kind:
        case "feature":
            own = {
                "feature": paired(node.layer, node.feature),
                "jsNodeId": f"{node.layer}_{node.feature}-0",
                "clerp": node.label,
                "activation": node.value,
                "space": node.space,
            }
        case "error":
            own = {"feature": -1, "jsNodeId": f"{node.layer}_-1-{node.position}", "clerp": ""}
        case "embedding":
            own = {
                "feature": node.position,
                "layer": "E",
                "jsNodeId": f"E_{node.feature}-{node.position}",
                "clerp": f'Embedding "{node.label}"',
            }
        case _:
            own = {
                "feature": node.feature,
                "layer": str(n_layers + 1),
                "jsNodeId": f"L_{node.feature}-{node.position}",
                "clerp": f'Output "{node.label}" (p={node.probability:.3f})',
                "value": node.value,
            }
    return FileNode.model_validate(shared | own)


def _node(node: FileNode, words: Sequence[str]) -> Node:
    """A node of a graph from one of a file."""
    extra = node.model_extra or {}
    found = _ID.fullmatch(node.node_id)
    if node.feature_type == ERROR:
        return Node("error", int(node.layer), node.ctx_idx)
    if found is None or node.ctx_idx >= len(words):
        raise UserError("the id says no layer, feature and position of the prompt", node.node_id, _FIX)
    number = int(found[1])
    if node.feature_type == EMBEDDING:
        return Node("embedding", position=node.ctx_idx, feature=number, label=words[node.ctx_idx])
    if node.feature_type == LOGIT:
        word = re.fullmatch(r'Output "(.*)" \(p=[0-9.]+\)', node.clerp, re.DOTALL)
        return Node(
            "logit",
            int(node.layer) - 1,
            node.ctx_idx,
            number,
            value=float(extra.get("value", 0.0)),
            probability=node.token_prob,
            label=word[1] if word else node.clerp,
        )
    return Node(
        "feature",
        int(node.layer),
        node.ctx_idx,
        number,
        space=str(extra.get("space", node.layer)),
        value=node.activation or 0.0,
        label=node.clerp,
    )
