"""Drawings of circuits: a layout in layers, SVG for pages, Graphviz' language, and JSON for a page."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from markupsafe import Markup

from interp.circuits.circuit import Circuit
from interp.circuits.diagram import Arrow, Box, Diagram, EdgeKind, Layout, colour_of
from interp.circuits.edge_attribution import EdgeScores
from interp.circuits.graph import INPUT, LOGITS
from interp.render.characters import permitted
from interp.render.digits import significant
from interp.render.palette import BASE, Theme

Labels = Mapping[str, str]
"""What nodes are called, by their name in the graph, such as {"a1.h3": "previous token"}."""
PARTS: Mapping[str, EdgeKind] = {"q": "q", "k": "k", "v": "v"}
READ: Mapping[EdgeKind, str] = {
    "q": "query",
    "k": "key",
    "v": "value",
    "mlp": "MLP input",
    "logits": "logits",
}


def layout(
    circuit: Circuit, scores: EdgeScores | None = None, labels: Labels | None = None, width: int = 620
) -> Layout:
    """Places a circuit's nodes: rows are layers, from the input at the bottom to the logits at the top.

    A layer's heads stand side by side and its MLP, which reads them, last and a little higher. `width` is in
    pixels; rows that are wider are wrapped. An edge into the key or value of a group of heads is drawn to
    each of its heads in the circuit.
    """
    return _diagram(circuit, scores, labels or {}).layout(width)


def to_svg(
    circuit: Circuit,
    scores: EdgeScores | None = None,
    labels: Labels | None = None,
    width: int = 620,
    theme: Theme | None = None,
) -> Markup:
    """Draws a circuit: an edge's width tells the size of its score, its colour the sign, its dash q, k or v.

    Without a theme, the colours are CSS variables of a page that has the palette; with one, the drawing is a
    file of its own. Hovering says a node's or an edge's score.
    """
    says = f"A circuit of {circuit.n_edges} edges between {len(circuit.nodes)} nodes"
    return layout(circuit, scores, labels, width).svg(says, theme)


def to_dot(circuit: Circuit, scores: EdgeScores | None = None, labels: Labels | None = None) -> str:
    """Writes a circuit in Graphviz' language: `dot -Tsvg`. Layers are ranks, from the input upwards."""
    diagram = _diagram(circuit, scores, labels or {})
    placed = diagram.layout()
    called = {box.name: f"{box.name} {(labels or {}).get(box.name, '')}".rstrip() for box in diagram.boxes}
    lines = ["digraph circuit {", "  rankdir=BT;", '  node [shape=box, style=rounded, fontname="Helvetica"];']
    for row in range(len(diagram.rows)):
        for step in (0, 1):
            boxes = [box for box in diagram.boxes if (box.row, box.step) == (row, step)]
            if boxes:
                named = (f"{_quoted(box.name)} [label={_quoted(called[box.name])}];" for box in boxes)
                lines.append(f"  {{ rank=same; {' '.join(named)} }}")
    for arrow in diagram.arrows:
        style = {"q": "dashed", "k": "dotted"}.get(arrow.kind, "solid")
        colour = BASE["light"][colour_of(arrow.score)]
        lines.append(
            f"  {_quoted(arrow.source)} -> {_quoted(arrow.target)} [style={style}, "
            f"penwidth={placed.thickness(arrow):.2f}, color={_quoted(colour)}, "
            f"tooltip={_quoted(arrow.says)}];"
        )
    return "\n".join((*lines, "}\n"))


def circuit_json(
    circuit: Circuit, scores: EdgeScores | None = None, labels: Labels | None = None
) -> dict[str, Any]:
    """A circuit for a page: nodes with layer, kind and score; edges with source, reader, kind and score.

    A node's score is the sum over all of its edges in the model, which estimates what corrupting the node
    does; None of the logits and without scores. `targets` are the nodes that an edge's reader serves.
    """
    names = labels or {}
    return {
        "graph": circuit.graph.to_json(),
        "n_edges": circuit.n_edges,
        "nodes": [
            {
                "name": name,
                "label": _label(name),
                "says": names.get(name, ""),
                "layer": circuit.graph.layer(name),
                "kind": node_kind(name),
                "score": node_score(scores, name),
            }
            for name in _nodes(circuit)
        ],
        "edges": [
            {
                "name": name,
                "source": name.partition("->")[0],
                "reader": name.partition("->")[2],
                "kind": edge_kind(name),
                "targets": targets,
                "score": _score(scores, name),
            }
            for name, targets in _targets(circuit).items()
        ],
    }


def node_kind(name: str) -> str:
    """What a node is: `input`, `head`, `mlp` or `logits`."""
    return name if name in (INPUT, LOGITS) else {"a": "head", "m": "mlp"}[name[0]]


def edge_kind(name: str) -> EdgeKind:
    """What an edge's reader is: `q`, `k` or `v` of attention, the `mlp`'s input, or the `logits`."""
    reader = name.partition("->")[2]
    part = reader.rstrip(">").partition("<")[2]
    return PARTS[part] if part else "logits" if reader == LOGITS else "mlp"


def node_score(scores: EdgeScores | None, node: str) -> float | None:
    """The sum of the scores of the edges that leave a node; None of the logits, and without scores."""
    if scores is None or node == LOGITS:
        return None
    return float(scores.values[..., scores.graph.sources.index(node), :].sum())


def _score(scores: EdgeScores | None, edge: str) -> float | None:
    return None if scores is None else float(scores.values[(..., *scores.graph.edge(edge))].sum())


def _diagram(circuit: Circuit, scores: EdgeScores | None, labels: Labels) -> Diagram:
    if scores is not None:
        scores.graph.check(circuit.graph, "circuit")
    graph = circuit.graph
    boxes = []
    for name in _nodes(circuit):
        said, kind, score = labels.get(name, ""), node_kind(name), node_score(scores, name)
        says = f"{name}{': ' + said if said else ''}"
        says += "" if score is None else f"; its edges' scores add up to {significant(score)}"
        boxes.append(
            Box(
                name,
                f"{_label(name)} {said}".rstrip(),
                graph.layer(name) + 1,
                kind,
                step=int(kind == "mlp"),
                says=says,
                colour="a" if kind == "mlp" else "muted",
            )
        )
    arrows = []
    for name, targets in _targets(circuit).items():
        source, kind, score = name.partition("->")[0], edge_kind(name), _score(scores, name)
        says = f"{name} ({READ[kind]})" + ("" if score is None else f": {significant(score)}")
        arrows += [Arrow(name, source, target, kind, score, says) for target in targets]
    rows = ("", *(f"layer {layer}" for layer in range(graph.n_layers)), "")
    return Diagram(boxes, arrows, rows)


def _label(name: str) -> str:
    """A node's name in its row, where the layer is said."""
    return {"head": name.partition(".h")[2] and f"head {name.partition('.h')[2]}", "mlp": "MLP"}.get(
        node_kind(name), name
    )


def _targets(circuit: Circuit) -> dict[str, list[str]]:
    """The nodes that each edge's reader serves: those of the circuit, or all where it has none."""
    graph, inside = circuit.graph, {*circuit.nodes}
    served = [[graph.nodes[place] for place in row.nonzero()[:, 0].tolist()] for row in graph.feeds]
    kept = [[name for name in names if name in inside] or names for names in served]
    return {edge: kept[graph.edge(edge)[1]] for edge in circuit.edges}


def _nodes(circuit: Circuit) -> list[str]:
    """The nodes that are drawn: those that an edge leaves or enters, input and logits."""
    found = {INPUT, LOGITS, *circuit.nodes, *chain.from_iterable(_targets(circuit).values())}
    return [name for name in circuit.graph.nodes if name in found]


def _quoted(text: str) -> str:
    """A string of Graphviz' language; its backslashes and line ends are kept as they are."""
    escaped = permitted(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "")
    return f'"{escaped}"'
