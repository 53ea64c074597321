"""Drawings of circuits: boxes that stand apart, Graphviz' language that can be read back, SVG and JSON."""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
import torch

from interp.circuits.circuit import Circuit, top_edges
from interp.circuits.diagram import DASHES, HEIGHT, Arrow, Box, Diagram
from interp.circuits.drawing import circuit_json, edge_kind, layout, node_score, to_dot, to_svg
from interp.circuits.edge_attribution import EdgeScores
from interp.circuits.graph import LOGITS, Graph
from interp.errors import UserError
from interp.render.palette import BASE

GRAPHS = {"heads": Graph(4, 8, 8), "groups": Graph(6, 4, 1), "parallel": Graph(2, 4, 2, parallel=True)}
HOSTILE = 'says "]; } <script>alert(1)</script> \\ &\n\x00'
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=GRAPHS, scope="module")
def scores(request: pytest.FixtureRequest) -> EdgeScores:
    graph = GRAPHS[request.param]
    drawn = torch.randn(graph.exists.shape, generator=torch.Generator().manual_seed(0)).double()
    return EdgeScores(graph, torch.where(graph.exists, drawn, 0), "eap", "logit_difference")


@pytest.fixture(scope="module")
def circuit(scores: EdgeScores) -> Circuit:
    return top_edges(scores, 120)


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


@pytest.mark.parametrize("width", [350, 620])
def test_boxes_stand_apart_in_rows_of_layers_and_edges_go_up(circuit: Circuit, width: int) -> None:
    placed = layout(circuit, width=width)
    corners = [placed.rectangle(box) for box in placed.diagram.boxes]
    for one, other in combinations(corners, 2):
        apart = one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
        assert apart, (one, other)
    assert min(left for left, *_ in corners) >= 0 and max(right for *_, right, _ in corners) <= width
    assert min(top for _, top, *_ in corners) >= 0
    assert max(bottom for *_, bottom in corners) <= placed.height
    graph, height = circuit.graph, {name: y for name, (_, y) in placed.centres.items()}
    for first, second in combinations(placed.centres, 2):
        if graph.layer(first) != graph.layer(second):
            assert (height[first] > height[second]) == (graph.layer(first) < graph.layer(second))
    for arrow in placed.diagram.arrows:
        if not graph.parallel:
            assert height[arrow.source] - height[arrow.target] >= HEIGHT, arrow


def test_a_curve_is_inside_the_drawing(circuit: Circuit) -> None:
    placed = layout(circuit)
    for arrow in placed.diagram.arrows:
        numbers = [float(one) for one in re.findall(r"-?\d+\.\d", placed.path(arrow))]
        assert len(numbers) == 8
        assert all(0 <= x <= placed.width for x in numbers[::2])


def test_every_edge_is_drawn_to_the_heads_that_its_key_serves(circuit: Circuit) -> None:
    found = circuit_json(circuit)
    graph = circuit.graph
    for edge in found["edges"]:
        row = graph.readers.index(edge["reader"])
        served = {graph.nodes[place] for place in graph.feeds[row].nonzero()[:, 0].tolist()}
        assert {*edge["targets"]} == (served & {*circuit.nodes} or served)
    arrows = layout(circuit).diagram.arrows
    assert [(one.name, one.target) for one in arrows] == [
        (edge["name"], target) for edge in found["edges"] for target in edge["targets"]
    ]
    names = {node["name"] for node in found["nodes"]}
    assert names == {edge["source"] for edge in found["edges"]} | {
        target for edge in found["edges"] for target in edge["targets"]
    } | {"input", LOGITS}


def test_scores_are_those_of_the_edges_and_of_all_that_leaves_a_node(
    circuit: Circuit, scores: EdgeScores
) -> None:
    table = scores.table().set_index("edge")["score"]
    found = circuit_json(circuit, scores)
    assert len(found["edges"]) == circuit.n_edges == found["n_edges"]
    assert {edge["name"]: edge["score"] for edge in found["edges"]} == pytest.approx(
        table.loc[circuit.edges].to_dict()
    )
    for node in found["nodes"]:
        name = node["name"]
        if name == LOGITS:
            assert node["score"] is None
        else:
            own = scores.table().query("source == @name")["score"].sum()
            assert node["score"] == pytest.approx(own)


def test_the_width_of_an_edge_is_the_size_of_its_score_and_the_colour_its_sign(
    circuit: Circuit, scores: EdgeScores
) -> None:
    by_name = {edge["name"]: edge for edge in circuit_json(circuit, scores)["edges"]}
    largest = max(abs(edge["score"]) for edge in by_name.values())
    paths = drawn(to_svg(circuit, scores, theme="light")).findall(f".//{SVG}path")
    assert len(paths) == len(layout(circuit).diagram.arrows)
    for path in paths:
        edge = by_name[path.attrib["data-edge"]]
        assert float(path.attrib["stroke-width"]) == pytest.approx(
            1 + 5 * abs(edge["score"]) / largest, abs=0.01
        )
        assert path.attrib["stroke"] == BASE["light"]["c" if edge["score"] > 0 else "accent"]
        assert path.attrib.get("stroke-dasharray") == DASHES.get(edge["kind"])


def test_kinds_of_readers() -> None:
    assert [edge_kind(f"input->{name}") for name in ("a1.h0<q>", "a1.g0<k>", "a1.h3<v>", "m1", "logits")] == [
        "q", "k", "v", "mlp", "logits",
    ]  # fmt: skip


def test_a_page_drawing_has_the_colours_of_the_page_and_a_file_its_own(circuit: Circuit) -> None:
    page, file = to_svg(circuit), to_svg(circuit, theme="dark")
    assert "var(--" in page and "#" not in page
    assert "var(--" not in file and BASE["dark"]["paper"] in file
    assert "style=" not in page + file
    box = drawn(page).attrib["viewBox"].split()
    assert [drawn(page).attrib["width"], drawn(page).attrib["height"]] == box[2:]


def test_labels_are_escaped_everywhere(circuit: Circuit, scores: EdgeScores) -> None:
    node = next(name for name in circuit.nodes if name.startswith("a"))
    svg = to_svg(circuit, scores, {node: HOSTILE})
    said = [one.text or "" for one in drawn(svg).findall(f".//{SVG}title")]
    assert any("<script>" in text and "\ufffd" in text for text in said)
    assert "<script>" not in svg
    dot = to_dot(circuit, scores, {node: HOSTILE})
    assert "\x00" not in dot
    assert read_dot(dot)[0][node] == f"{node} {HOSTILE}".replace("\x00", "\ufffd")


def test_graphviz_has_every_node_and_edge(circuit: Circuit, scores: EdgeScores) -> None:
    nodes, edges = read_dot(to_dot(circuit, scores))
    drawing = circuit_json(circuit, scores)
    assert [*nodes] == [node["name"] for node in drawing["nodes"]]
    assert edges == [(e["source"], target) for e in drawing["edges"] for target in e["targets"]]


def test_a_circuit_without_edges_is_input_and_logits() -> None:
    graph = GRAPHS["heads"]
    empty = Circuit(graph, torch.zeros_like(graph.exists))
    assert [box.name for box in layout(empty).diagram.boxes] == ["input", LOGITS]
    assert node_score(None, "input") is None
    assert read_dot(to_dot(empty)) == ({"input": "input", "logits": "logits"}, [])


def test_edges_by_position_are_drawn_once() -> None:
    graph = GRAPHS["groups"]
    kept = torch.zeros(3, *graph.exists.shape, dtype=torch.bool)
    kept[1, graph.edge("input->m0")[0], graph.edge("input->m0")[1]] = True
    kept[2] = kept[1]
    values = torch.zeros(3, *graph.exists.shape, dtype=torch.float64)
    values[1:, 0, graph.edge("input->m0")[1]] = 0.25
    found = circuit_json(Circuit(graph, kept), EdgeScores(graph, values, "eap", "kl"))
    assert [(edge["name"], edge["score"]) for edge in found["edges"]] == [("input->m0", 0.5)]


def test_scores_of_another_graph_are_refused(circuit: Circuit) -> None:
    other = Graph(3, 2, 2)
    wrong = EdgeScores(other, torch.zeros(other.exists.shape), "eap", "kl")
    with pytest.raises(UserError, match="belongs to a model of"):
        to_svg(circuit, wrong)


def test_columns_hold_their_boxes_and_wrap_them() -> None:
    boxes = [Box(f"{column}.{i}", f"feature {i}", 1, column=column) for column in (0, 1, 5) for i in range(7)]
    arrows = [Arrow("e", "0.0", "5.1", score=1.0)]
    placed = Diagram([*boxes, Box("t", "token", 0, column=0)], arrows, ("tokens", "layer 0")).layout()
    corners = {box.name: placed.rectangle(box) for box in placed.diagram.boxes}
    for one, other in combinations(corners.values(), 2):
        assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
    ends = [
        [end for name, corner in corners.items() if name.startswith(f"{column}.") for end in corner[::2]]
        for column in (0, 1, 5)
    ]
    assert max(ends[0]) < min(ends[1]) and max(ends[1]) < min(ends[2])
    assert placed.width >= max(ends[2]) > 620


def read_dot(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Reads Graphviz' language by its grammar: labels by node, and edges; fails on what is no part of it."""
    token = re.compile(r'\s*("(?:[^"\\]|\\.)*"|->|[A-Za-z_][\w]*|-?\d+(?:\.\d+)?|[{}\[\];,=])', re.DOTALL)
    tokens, place = [], 0
    while text[place:].strip():
        match = token.match(text, place)
        assert match is not None, text[place : place + 40]
        tokens.append(match[1])
        place = match.end()

    def plain(quoted: str) -> str:
        return re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], quoted[1:-1])

    assert tokens[:3] == ["digraph", "circuit", "{"] and tokens.count("{") == tokens.count("}")
    nodes, edges = {}, []
    for at, one in enumerate(tokens):
        if one == "->":
            edges.append((plain(tokens[at - 1]), plain(tokens[at + 1])))
        elif one == "label":
            assert tokens[at + 1] == "=" and tokens[at - 1] == "["
            nodes[plain(tokens[at - 2])] = plain(tokens[at + 2])
    return nodes, edges
