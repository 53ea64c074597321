"""Graphs as Neuronpedia's JSON: written as its schema says, read again as it was, hostile files refused."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.circuits.attribution_graphs.neuronpedia import GraphFile, graph_file, paired
from interp.circuits.attribution_graphs.pruning import prune
from interp.circuits.attribution_graphs.supernodes import by_hand
from interp.errors import UserError
from tests.unit.test_attribution_graph_pruning import random_graph

VALIDATOR = import_module("jsonschema").Draft7Validator
TEXT, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
MAYBE = {"type": ["number", "null"]}
TEXTS = {"type": "array", "items": TEXT}
SCHEMA = {
    "type": "object",
    "required": ["metadata", "qParams", "nodes", "links"],
    "properties": {
        "metadata": {
            "type": "object",
            "required": ["slug", "scan", "prompt_tokens", "prompt"],
            "properties": {
                "slug": TEXT, "scan": TEXT, "prompt": TEXT, "prompt_tokens": TEXTS, "node_threshold": NUMBER,
                "feature_details": {"type": "object"}, "info": {"type": "object"},
                "generation_settings": {"type": "object"}, "pruning_settings": {"type": "object"},
            },
        },
        "qParams": {
            "type": "object",
            "properties": {
                "pinnedIds": TEXTS, "supernodes": {"type": "array", "items": TEXTS}, "linkType": TEXT,
                "clickedId": TEXT, "sg_pos": TEXT,
            },
        },
        "nodes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [
                    "node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp",
                ],
                "properties": {
                    "node_id": TEXT, "feature": {"type": ["integer", "null"]},
                    "layer": {"type": ["string", "integer"]}, "ctx_idx": WHOLE, "feature_type": TEXT,
                    "jsNodeId": TEXT, "clerp": TEXT, "influence": MAYBE, "activation": MAYBE,
                },
            },
        },
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["source", "target", "weight"],
                "properties": {"source": TEXT, "target": TEXT, "weight": NUMBER},
            },
        },
    },
}  # fmt: skip
"""Keys and types of Neuronpedia's graph-schema.json (draft 7), in our words."""


def circuit_tracers() -> dict[str, Any]:
    """A file as circuit-tracer writes them, by hand: its keys, its ids, its order."""

    def node(node_id: str, feature: int, layer: str, ctx: int, kind: str, js: str, **more: Any) -> Any:
        own = {"node_id": node_id, "feature": feature, "layer": layer, "ctx_idx": ctx, "feature_type": kind}
        plain = {"token_prob": 0.0, "is_target_logit": False, "run_idx": 0, "reverse_ctx_idx": 0}
        return own | plain | {"jsNodeId": js, "clerp": "", "influence": None, "activation": None} | more

    transcoder = "cross layer transcoder"
    logit = {"token_prob": 0.25, "is_target_logit": True, "clerp": 'Output " Aus\\"tin" (p=0.250)'}
    return {
        "metadata": {
            "slug": "dallas", "scan": "gemma-2-2b", "transcoder_list": [],
            "prompt_tokens": ["<bos>", "Dallas"], "prompt": "<bos>Dallas",
            "node_threshold": 0.8, "schema_version": 1,
        },
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": [
            node("0_6200_1", 19229300, "0", 1, transcoder, "0_6200-0", influence=0.29, activation=21.875),
            node("1_14137_1", 99962728, "1", 1, transcoder, "1_14137-0", influence=0.46, activation=10.5),
            node("0_-1_1", -1, "0", 1, "mlp reconstruction error", "0_-1-1", influence=0.3),
            node("E_2_0", 0, "E", 0, "embedding", "E_2-0"),
            node("E_26865_1", 1, "E", 1, "embedding", "E_26865-1"),
            node("27_22605_1", 22605, "27", 1, "logit", "L_22605-1", **logit),
        ],
        "links": [
            {"source": "E_26865_1", "target": "0_6200_1", "weight": 24.5},
            {"source": "0_6200_1", "target": "1_14137_1", "weight": -3.25},
            {"source": "1_14137_1", "target": "27_22605_1", "weight": 1.5},
            {"source": "0_-1_1", "target": "27_22605_1", "weight": 0.5},
        ],
    }  # fmt: skip


def test_what_is_written_fits_the_schema_and_is_read_again(tmp_path: Path) -> None:
    graph = random_graph(1)
    pruned = prune(graph)
    kept = [graph.nodes[i].key for i in pruned.nodes.nonzero()[:, 0].tolist()]
    features = [key for key in kept if key.startswith("s.")]
    groups = by_hand(graph, {"one": features[:3], "two": features[3:5]})
    file = graph_file(pruned, "my-graph", scan="gemma-2-2b", supernodes=groups, pinned=[kept[-1]])
    file.write(tmp_path / "graph.json")
    content = json.loads((tmp_path / "graph.json").read_text())
    VALIDATOR(SCHEMA).validate(content)
    assert len(content["nodes"]) == len(kept) and len(content["links"]) == int(pruned.edges.sum())
    again = GraphFile.read(tmp_path / "graph.json")
    assert again == file and again.written() == content
    assert [one[0] for one in content["qParams"]["supernodes"]] == ["one", "two"]
    assert set(content["qParams"]["pinnedIds"]) > {
        i for one in content["qParams"]["supernodes"] for i in one[1:]
    }
    back = again.pruned()
    assert {node.key for node in back.graph.nodes} == set(kept)
    for t, s in pruned.edges.nonzero().tolist():
        place = back.graph.place(graph.nodes[t].key), back.graph.place(graph.nodes[s].key)
        assert back.edges[place] and back.graph.adjacency[place] == graph.adjacency[t, s]
    assert int(back.edges.sum()) == int(pruned.edges.sum())
    assert back.graph.tokens == graph.tokens
    for node in back.graph.nodes:
        same = graph.nodes[graph.place(node.key)]
        assert (node.value, node.probability) == pytest.approx((same.value, same.probability))
    # what is read can be written: the nodes' ids are those of the first file
    assert {n.node_id for n in graph_file(back, "x").nodes} == {n.node_id for n in file.nodes}


def test_a_file_of_circuit_tracer_is_read_and_written_without_loss(tmp_path: Path) -> None:
    content = circuit_tracers()
    VALIDATOR(SCHEMA).validate(content)
    (tmp_path / "dallas.json").write_text(json.dumps(content))
    file = GraphFile.read(tmp_path / "dallas.json")
    file.write(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == content
    graph = file.pruned().graph
    assert [node.kind for node in graph.nodes] == ["feature", "feature", "error", *["embedding"] * 2, "logit"]
    assert graph.tokens == (2, 26865) and graph.words == ("<bos>", "Dallas")
    assert graph.nodes[0].feature == 6200 and graph.nodes[0].value == 21.875
    assert (graph.nodes[-1].feature, graph.nodes[-1].layer) == (22605, 26)
    assert graph.adjacency[1, 0] == -3.25 and graph.adjacency[5, 2] == 0.5
    assert [paired(node.layer, node.feature) for node in graph.nodes[:2]] == [19229300, 99962728]
    assert torch.equal(prune(graph, 1.0, 1.0).edges, graph.adjacency != 0)


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    content = circuit_tracers()
    inner: Any = content
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed(("metadata", "slug"), None), r"`metadata\.slug` is missing"),
        (changed(("nodes", 0, "ctx_idx"), -1), r"nodes\.0\.ctx_idx"),
        (changed(("nodes", 0, "feature"), "many"), r"nodes\.0\.feature"),
        (changed(("links", 0, "weight"), "heavy"), r"links\.0\.weight"),
        (changed(("links", 0, "source"), "5_5_5"), "no node"),
        (changed(("nodes", 1, "node_id"), "0_6200_1"), "stands twice"),
        (changed(("qParams", "supernodes"), [["name", "9_9_9"]]), "no node"),
        ([1, 2], "no JSON object"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: Any, said: str) -> None:
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        GraphFile.read(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("nodes", 0, "feature_type"), "lorsa", "not known"),
        (("nodes", 0, "ctx_idx"), 7, "no layer, feature and position"),
        (("nodes", 3, "node_id"), "E", "no node"),
    ],
)
def test_nodes_that_say_nothing_are_refused(tmp_path: Path, path: Any, value: Any, said: str) -> None:
    content = changed(path, value)
    if said == "no node":
        content["qParams"]["pinnedIds"] = ["E_2_0"]
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        GraphFile.read(tmp_path / "bad.json").pruned()
