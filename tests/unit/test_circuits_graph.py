"""The graph of parts, what is chosen of it, and its files, against networkx and closed forms."""

from pathlib import Path

import networkx as nx
import pytest
import torch

from interp.circuits.circuit import (
    Circuit,
    above,
    greedy_edges,
    random_edges,
    read_circuit,
    top_edges,
    write_circuit,
)
from interp.circuits.edge_attribution import EdgeScores
from interp.circuits.graph import Graph
from interp.errors import UserError

GROUPED = Graph(n_layers=4, n_heads=4, n_groups=2)


def scores(graph: Graph, seed: int = 0, positions: int | None = None) -> EdgeScores:
    """Random scores."""
    shape = (*([positions] if positions else []), *graph.exists.shape)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return EdgeScores(graph, torch.where(graph.exists, values, 0), "eap", "logit_difference")


def walked(circuit: Circuit) -> nx.DiGraph:
    """The circuit as nodes that follow each other: a source, what reads it, what computes with that."""
    graph, found = circuit.graph, nx.DiGraph()
    for source, reader in circuit.kept.nonzero().tolist():
        name = graph.readers[reader]
        found.add_edge(graph.sources[source], f"into {name}")
        layer, _, rest = name.rstrip(">").partition(".")
        head, _, _ = rest.partition("<")
        members = [head]
        if head.startswith("g"):
            size = graph.n_heads // graph.n_groups
            members = [f"h{int(head[1:]) * size + i}" for i in range(size)]
        for member in members:
            found.add_edge(f"into {name}", f"{layer}.{member}" if rest else name)
    return found


@pytest.mark.parametrize(
    ("graph", "edges"),
    [
        (Graph(12, 12, 12), 32_491),  # GPT-2 small: Conmy et al. 2023, arXiv 2304.14997; Hanna et al. 2024
        (Graph(6, 8, 8), 3_628),
    ],
)
def test_number_of_edges_is_the_published_one(graph: Graph, edges: int) -> None:
    assert graph.n_edges == edges == len(graph.edge_names())


def test_edges_lead_from_what_has_written_to_what_reads() -> None:
    kept = set(GROUPED.edge_names())
    assert {"input->a0.h0<q>", "a0.h3->m0", "m0->a1.g1<k>", "a1.h0->a2.h3<q>", "m3->logits"} <= kept
    assert not {"a0.h0->a0.h1<q>", "m0->a0.g0<v>", "a1.h0->m0", "input->input"} & kept
    beside = set(Graph(4, 4, 2, parallel=True).edge_names())
    assert kept - beside == {f"a{layer}.h{head}->m{layer}" for layer in range(4) for head in range(4)}
    assert {name for name in kept if name.endswith(("h2<k>", "h3<k>", "h0<v>"))} == set()


@pytest.mark.parametrize("seed", range(8))
def test_pruned_edges_are_those_on_paths_from_input_to_logits(seed: int) -> None:
    chosen = top_edges(scores(GROUPED, seed), 60)
    walk = walked(chosen)
    on_path = (nx.descendants(walk, "input") | {"input"}) & (nx.ancestors(walk, "logits") | {"logits"})
    expected = {
        name
        for name in chosen.edges
        if name.partition("->")[0] in on_path and f"into {name.partition('->')[2]}" in on_path
    }
    assert set(chosen.pruned().edges) == expected
    assert 0 < len(expected) < 60


def test_positions_are_reached_through_keys_and_values_only_later() -> None:
    graph = Graph(1, 1, 1)
    kept = torch.zeros(3, *graph.exists.shape, dtype=torch.bool)
    for position, name in ((0, "input->a0.h0<v>"), (2, "input->a0.h0<k>"), (1, "a0.h0->logits")):
        kept[(position, *graph.edge(name))] = True
    found = Circuit(graph, kept).pruned().kept
    assert found[0].any()  # read at position 0, written at 1
    assert not found[2].any()


def test_top_and_threshold_keep_the_largest_scores() -> None:
    found = scores(GROUPED)
    sizes = found.values.abs()[GROUPED.exists].sort(descending=True).values
    assert (found.values[top_edges(found, 20).kept].abs() >= sizes[19]).all()
    assert top_edges(found, 20).n_edges == above(found, float(sizes[19])).n_edges == 20
    assert found.table(20)["edge"].tolist() == [
        name for name in found.table()["edge"] if name in top_edges(found, 20).edges
    ]
    by_position = scores(GROUPED, positions=5)
    assert top_edges(by_position, 33).kept.sum() == 33


def test_greedy_edges_always_lead_to_the_logits() -> None:
    found = scores(GROUPED)
    for n in (1, 10, 50):
        chosen = greedy_edges(found, n)
        walk = walked(chosen)
        assert chosen.n_edges == n
        leading = nx.ancestors(walk, "logits")
        assert {name.partition("->")[0] for name in chosen.edges} <= leading
    best = max(range(len(GROUPED.sources)), key=lambda source: abs(found.values[source, -1]))
    assert greedy_edges(found, 1).edges == [f"{GROUPED.sources[best]}->logits"]


def test_random_edges_are_as_many_of_each_kind() -> None:
    chosen = top_edges(scores(GROUPED), 40)
    drawn = random_edges(chosen, torch.Generator().manual_seed(0))
    for end in ("<q>", "<k>", "<v>", "logits"):
        assert sum(name.endswith(end) for name in drawn.edges) == sum(
            name.endswith(end) for name in chosen.edges
        )
    assert drawn.n_edges == 40
    assert drawn.edges != chosen.edges


@pytest.mark.parametrize("positions", [None, 3])
def test_a_written_circuit_is_read_again(tmp_path: Path, positions: int | None) -> None:
    chosen = top_edges(scores(GROUPED, positions=positions), 40)
    write_circuit(chosen, tmp_path / "circuit.json")
    found = read_circuit(tmp_path / "circuit.json")
    assert found.graph == GROUPED
    assert torch.equal(found.kept, chosen.kept)


def test_what_is_no_circuit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"edges": []}')
    with pytest.raises(UserError, match="no circuit"):
        read_circuit(tmp_path / "a.json")
    with pytest.raises(UserError, match="not an edge"):
        GROUPED.of_edges(["m0->a0.h0<q>"])
    with pytest.raises(UserError, match="not of this graph"):
        Circuit(Graph(2, 4, 4), top_edges(scores(GROUPED), 4).kept)
