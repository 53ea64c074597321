"""The page Circuits: a behaviour's circuit, without some nodes, and the graph of a prompt's features."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from starlette.testclient import TestClient

from interp import MlpNeurons, Site, Subject
from interp.circuits.attribution_graphs.neuronpedia import GraphFile
from interp.circuits.circuit import read_circuit, top_edges
from interp.circuits.edge_attribution import edge_scores
from interp.circuits.evaluation import Evaluator
from interp.circuits.node_attribution import node_scores
from interp.circuits.pairs import Pair, Pairs
from interp.circuits.wiring import Wiring
from interp.errors import UserError
from interp.inspection.circuit import LEVEL, Circuits, Found, Question
from interp.inspection.circuit_nodes import ablate, neurons, reading
from interp.inspection.feature_graph import MOST_DRAWN
from interp.monitor.bench import Bench
from interp.monitor.knowledge import Knowledge
from interp.web.app import make_app
from interp.web.sessions import Limits

Json = dict[str, Any]
CAPITAL: Json = {"behaviour": "capital", "n": 8, "method": "eap"}
FRANCE: Json = {
    "clean": "the capital of france is",
    "corrupted": "the capital of germany is",
    "answer": "paris",
    "distractor": "berlin",
}
PROMPT = "the capital of france is"


@pytest.fixture(scope="module")
def bench(subject: Subject) -> Bench:
    spaces = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    return Bench(subject, Knowledge("world"), spaces)


@pytest.fixture(scope="module")
def client(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    app = make_app(bench, runs_dir=tmp_path_factory.mktemp("runs"), limits=Limits(prompt_characters=500))
    return TestClient(app, base_url="http://127.0.0.1:8787", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def circuits(bench: Bench) -> Circuits:
    return Circuits(bench)


@pytest.fixture(scope="module")
def found(circuits: Circuits) -> Found:
    return circuits.find(Question.model_validate(CAPITAL))


def streamed(client: TestClient, path: str, **asked: Any) -> tuple[list[str], Json]:
    """What was said, and the data of the last event, under its name."""
    answer = client.post(f"/api/circuits/{path}", json=asked)
    assert answer.status_code == 200, answer.text
    said, last = [], {}
    for block in answer.text.strip().split("\n\n"):
        name, data = (line.partition(": ")[2] for line in block.split("\n", 1))
        last = {name: json.loads(data)}
        said += [last["said"]["words"]] if name == "said" else []
    return said, last


def post(client: TestClient, path: str, status: int = 200, **asked: Any) -> Json:
    answer = client.post(f"/api/circuits/{path}", json=asked)
    assert answer.status_code == status, answer.text
    content: Json = answer.json()
    return content


@pytest.fixture(scope="module")
def asked(client: TestClient) -> Json:
    said, last = streamed(client, "find", **CAPITAL)
    assert "scoring every edge" in said and "measuring circuits" in said
    done: Json = last["done"]
    return done


def test_the_page_is_small_and_offers_the_models_behaviours(client: TestClient) -> None:
    answer = client.get("/circuits", params={"prompt": "<script>alert(1)</script>"})
    assert answer.status_code == 200 and "alert(1)" not in answer.text
    size = len(answer.content)
    for name in (
        "circuit.js",
        "circuit_drawing.js",
        "circuit_parts.js",
        "circuit_features.js",
        "circuit.css",
    ):
        file = client.get(f"/static/{name}")
        assert file.status_code == 200
        size += len(file.content)
    assert size < 100_000
    assert all(f'value="{name}"' in answer.text for name in ("two_hop", "eap_ig_inputs", "zero", "kl"))


def test_the_curve_is_faithfulness_on_pairs_of_other_groups(found: Found, asked: Json) -> None:
    assert not {*found.choose.groups} & {*found.report.groups}
    assert len(found.choose) + len(found.report) == len(found.pairs) == 8
    assert asked["n_report"] == len(found.report) and not asked["alike"]
    scores = edge_scores(found.wiring, found.choose, "eap")
    on_choose, on_report = (Evaluator(found.wiring, part) for part in (found.choose, found.report))
    reached = True
    for row in reversed(asked["curve"]):
        circuit = top_edges(scores, row["edges"])
        reached = reached and on_choose.faithfulness(circuit).value >= LEVEL
        assert (row["edges"] >= asked["size"]) == reached
        if row["edges"] in (asked["size"], 1):
            own = on_report.faithfulness(circuit)  # what pruning leaves out changes nothing
            assert row["faithfulness"] == pytest.approx(own.value, abs=1e-4)
            assert row["faithfulness_low"] == pytest.approx(own.low, abs=1e-4)
    chosen = next(row for row in asked["curve"] if row["edges"] == asked["size"])
    assert chosen["random_high"] < 0.2 < chosen["faithfulness_low"]
    assert asked["curve"][-1]["faithfulness"] == pytest.approx(1, abs=1e-4)
    assert asked["curve"][-1]["random"] == pytest.approx(1, abs=1e-4)


def test_the_circuit_of_a_size_is_drawn(client: TestClient, found: Found, asked: Json) -> None:
    drawn = post(client, "draw", **CAPITAL, size=asked["size"])
    circuit = top_edges(found.scores, asked["size"]).pruned()
    assert [edge["name"] for edge in drawn["edges"]] == circuit.edges
    svg = ElementTree.fromstring(drawn["svg"])
    names = {one.attrib["data-node"] for one in svg.iter() if "data-node" in one.attrib}
    assert names == {node["name"] for node in drawn["nodes"]} == {*circuit.nodes}
    phone = post(client, "draw", **CAPITAL, size=asked["size"], width="phone")
    assert 'width="350"' in phone["svg"] and 'width="620"' in drawn["svg"]
    error = post(client, "draw", 400, **CAPITAL, size=asked["size"] + 1)["error"]
    assert "not measured" in error["thing"] and str(asked["size"]) in error["fix"]


@torch.no_grad()
def test_a_node_taken_out_of_the_whole_model_is_its_output_replaced(
    client: TestClient, subject: Subject, found: Found, asked: Json
) -> None:
    site, pairs = Site("mlp_out", subject.n_layers - 1), found.report
    kept: list[torch.Tensor] = []

    def keep(activation: torch.Tensor) -> torch.Tensor:
        kept.append(activation)
        return activation

    last = torch.full((len(pairs),), pairs.clean.tokens.shape[1] - 1)

    def logits(prompts: Any) -> torch.Tensor:
        return subject.logits_at(prompts.tokens, last, prompts.real.long())

    with subject.edited({site: keep}):
        logits(pairs.corrupted)
    before = logits(pairs.clean)
    with subject.edited({site: lambda activation: kept[0]}):
        after = logits(pairs.clean)
    node = f"m{subject.n_layers - 1}"
    answer = post(client, "ablate", **CAPITAL, size=asked["size"], nodes=[node], whole=True)
    for name, ids in (("answers", pairs.answers), ("distractors", pairs.distractors)):
        for when, values in (("before", before), ("after", after)):
            own = torch.stack([row[list(one)].mean() for row, one in zip(values, ids, strict=True)]).mean()
            assert answer[name][when][0] == pytest.approx(float(own), abs=1e-3)
    change = answer["difference"]["change"]
    assert change[1] <= change[0] <= change[2]
    assert answer["draws"] >= 2 and answer["n"] == len(pairs)
    restored = post(client, "ablate", **CAPITAL, size=asked["size"], nodes=[], whole=True)
    assert restored["difference"]["change"][0] == pytest.approx(0, abs=1e-6)
    assert restored["difference"]["before"] == answer["difference"]["before"]


def test_a_node_that_is_not_in_the_circuit_changes_nothing_there(found: Found) -> None:
    circuit = found.circuit(found.size)
    outside = next(name for name in circuit.graph.sources if name not in circuit.nodes)
    answer = ablate(found, circuit, [outside], "pair")
    assert answer.difference.change.value == 0 and answer.is_guess
    inside = max(circuit.nodes[1:-1], key=lambda name: circuit.graph.layer(name))
    assert ablate(found, circuit, [inside], "pair").difference.change.value != 0
    with pytest.raises(UserError, match="no node 'm99'"):
        ablate(found, circuit, ["m99"], "pair")


def test_neurons_add_up_to_their_mlp(client: TestClient, found: Found, asked: Json, subject: Subject) -> None:
    estimated = node_scores(found.wiring, found.choose, "attribution_patching").table().set_index("node")
    width = subject.site_width(Site("mlp_post", 0))
    for layer in (0, subject.n_layers - 1):
        every = neurons(found, layer, "pair", width)
        assert sum(one.score for one in every) == pytest.approx(
            estimated["score"][f"m{layer}"], rel=1e-3, abs=1e-4
        )
    node = f"m{subject.n_layers - 1}"
    view = post(client, "node", **CAPITAL, size=asked["size"], node=node)
    assert [one["effect"] for one in view["neurons"]] == pytest.approx([one.score for one in every[:10]])
    assert view["served"] and all(one["guess"] for one in view["neurons"])


def test_what_a_node_reads_is_scored_at_each_token(subject: Subject, found: Found) -> None:
    row = int(found.pairs.clean.prompt_lengths().argmin())
    pair = found.pairs.select([row])
    table = edge_scores(found.wiring, pair, "eap").table()
    for node, readers in (("a5.h3", ["a5.h3<v>"]), ("m6", ["m6"])):
        found_there = reading(found, node, "pair", row)
        assert subject.decode(list(found_there.clean[1:])) == subject.decode(
            pair.clean.tokens[0][pair.clean.real[0]].tolist()[1:]
        )
        assert len(found_there.scores) == len(found_there.clean) == len(found_there.corrupted)
        own = table[table["reader"].isin(readers)]["score"].sum()
        assert found_there.scores.sum() == pytest.approx(own, rel=1e-3, abs=1e-4)


def test_a_circuit_is_saved_in_three_forms(
    client: TestClient, found: Found, asked: Json, tmp_path: Path
) -> None:
    saved = {
        form: client.post(
            "/api/circuits/save", json={**CAPITAL, "size": asked["size"], "form": form, "theme": "dark"}
        )
        for form in ("json", "dot", "svg")
    }
    file = tmp_path / "circuit.json"
    file.write_bytes(saved["json"].content)
    assert read_circuit(file).edges == found.circuit(asked["size"]).edges
    assert saved["dot"].text.startswith("digraph circuit {")
    assert "var(--" not in saved["svg"].text and ElementTree.fromstring(saved["svg"].content) is not None
    assert saved["svg"].headers["content-type"].startswith("image/svg+xml")


def test_one_pair_of_ones_own_is_drawn_but_not_measured(client: TestClient, subject: Subject) -> None:
    own: Json = {"pairs": [FRANCE], "method": "eap"}
    found = streamed(client, "find", **own)[1]["done"]
    assert found["curve"] == [] and found["alike"] and found["n_report"] == 1
    assert found["examples"] == [
        {name: FRANCE[name] for name in ("clean", "corrupted")}
        | {"answers": ["paris"], "distractors": ["berlin"]}
    ]
    drawn = post(client, "draw", **own, size=found["size"])
    pairs = Pairs.of_lines(subject, [Pair.model_validate(FRANCE)])
    scores = edge_scores(Wiring.of(subject), pairs, "eap")
    assert [e["name"] for e in drawn["edges"]] == top_edges(scores, found["size"]).pruned().edges
    assert {
        e["name"]: e["score"] for e in found["top"] for e in [{"name": e["edge"], "score": e["score"]}]
    } == (pytest.approx(scores.table(12).set_index("edge")["score"].to_dict()))
    answer = post(client, "ablate", **own, size=found["size"], nodes=["input"], whole=True)
    assert answer["difference"]["change"][1] is None and answer["difference"]["change"][0] < -5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pairs": []}, "no pair"),
        ({"pairs": [FRANCE | {"corrupted": "the capital is"}]}, "tokens"),
        ({"pairs": [FRANCE | {"answer": "paris berlin"}]}, "token"),
        ({"pairs": [FRANCE | {"distractor": "paris"}]}, "both an answer and a distractor"),
        ({"pairs": [FRANCE | {"corrupted": FRANCE["clean"]}]}, "nothing can differ"),
        ({"pairs": [FRANCE | {"answer": "berlin", "distractor": "paris", "group": str(i)} for i in range(4)]},
         "not defined"),
        ({"behaviour": "nothing"}, "nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_found_is_told(client: TestClient, changes: Json, says: str) -> None:
    error = streamed(client, "find", **{"method": "eap", **changes})[1]["failed"]["error"]
    assert says in f"{error['thing']} {error['place']}" and error["fix"]


@pytest.mark.parametrize(
    ("path", "asked", "says"),
    [
        ("find", {"behaviour": "capital", "n": 2}, "n"),
        ("find", {"behaviour": "capital", "method": "magic"}, "method"),
        ("find", {"pairs": [FRANCE | {"clean": "the " * 200}]}, "too long"),
        ("graph", {"prompt": "the " * 200}, "too long"),
        ("ablate", {**CAPITAL, "size": 1, "nodes": ["logits"]}, "no node"),
        ("node", {**CAPITAL, "size": 1, "node": "a99.h0"}, "no node"),
        ("graph/remove", {"prompt": PROMPT, "nodes": ["mlp.0/1@99"]}, "no node"),
    ],
)
def test_what_cannot_be_asked_is_told(client: TestClient, path: str, asked: Json, says: str) -> None:
    error = post(client, path, 400, **asked)["error"]
    assert says in f"{error['thing']} {error['place']}" and error["fix"]


def test_the_graph_of_a_prompt_is_that_of_its_neurons(client: TestClient, subject: Subject) -> None:
    graph = streamed(client, "graph", prompt=PROMPT)[1]["done"]
    words = [node for node in graph["nodes"] if node["kind"] == "logit"]
    ids = torch.tensor([subject.with_bos(subject.encode(PROMPT))])
    logits = subject.run(ids).logits[0, -1].float()
    best = int(logits.argmax())
    top = max(words, key=lambda node: node["probability"])
    assert top["name"] == f"logit/{best}@{ids.shape[1] - 1}"
    assert top["value"] == pytest.approx(float(logits[best] - logits.mean()), abs=1e-3)
    features = [node for node in graph["nodes"] if node["kind"] == "feature"]
    assert 0 < len(features) <= MOST_DRAWN and graph["words"][1:] == subject.token_strings(ids[0, 1:])
    svg = ElementTree.fromstring(graph["svg"])
    assert {one.attrib["data-node"] for one in svg.iter() if "data-node" in one.attrib} == {
        node["name"] for node in graph["nodes"]
    }
    chosen = features[-1]
    layer, place = chosen["layer"], chosen["position"]
    neuron = int(chosen["name"].partition("/")[2].partition("@")[0])

    def silence(activation: torch.Tensor) -> torch.Tensor:
        assert float(activation[0, place, neuron]) == pytest.approx(chosen["value"], rel=1e-3, abs=1e-4)
        changed = activation.clone()
        changed[:, place, neuron] = 0
        return changed

    with torch.no_grad(), subject.edited({Site("mlp_post", layer): silence}):
        without = subject.logits_at(ids, torch.tensor([ids.shape[1] - 1]))[0].float()
    found = post(client, "graph/remove", prompt=PROMPT, nodes=[chosen["name"]])["logits"]
    row = found[words.index(top)]
    assert row["before"] == pytest.approx(top["value"]) and row["word"].strip() == "paris"
    assert row["after"] == pytest.approx(float(without[best] - without.mean()), abs=2e-3)
    assert row["null"][1] <= row["null"][0] <= row["null"][2]


def test_a_graph_is_saved_for_neuronpedia_and_as_a_drawing(client: TestClient, tmp_path: Path) -> None:
    saved = client.post("/api/circuits/graph/save", json={"prompt": PROMPT, "form": "json"})
    file = tmp_path / "graph.json"
    file.write_bytes(saved.content)
    graph = streamed(client, "graph", prompt=PROMPT)[1]["done"]
    read = GraphFile.read(file)
    assert len(read.nodes) == len(graph["nodes"]) and len(read.links) == len(graph["edges"])
    drawn = client.post("/api/circuits/graph/save", json={"prompt": PROMPT, "form": "svg"})
    assert "var(--" not in drawn.text and ElementTree.fromstring(drawn.content) is not None


def test_a_question_is_answered_once(circuits: Circuits, found: Found) -> None:
    assert circuits.find(Question.model_validate(CAPITAL)) is found
    with pytest.raises(UserError, match="not measured"):
        found.circuit(found.sizes[-1] + 1)
