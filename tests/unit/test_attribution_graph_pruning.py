"""Influence, pruning, scores and supernodes, against closed forms and the definition of pruning."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from interp.circuits.attribution_graphs.graph import AttributionGraph, Node
from interp.circuits.attribution_graphs.interventions import predicted_changes
from interp.circuits.attribution_graphs.pruning import node_influence, prune, scores
from interp.circuits.attribution_graphs.supernodes import by_hand, by_meaning, collapse, described
from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.monitor.knowledge import Knowledge
from interp.store.rows import DescriptionRow, FeatureRow, SpaceRow
from interp.store.store import Store

N_LAYERS = 4


def random_graph(seed: int, per_layer: int = 6, n_logits: int = 3, density: float = 0.7) -> AttributionGraph:
    """A graph without cycles: features of layers, errors, three embeddings, biases, logits."""
    draw = np.random.default_rng(seed)
    layers = range(N_LAYERS)
    nodes = [
        Node("feature", layer, layer % 3, i, f"s.{layer}", value=float(draw.uniform(0.5, 2)))
        for layer in layers
        for i in range(per_layer)
    ]
    nodes += [Node("error", layer, position) for layer in layers for position in range(3)]
    nodes += [Node("embedding", -1, position, 7 + position) for position in range(3)]
    nodes += [Node("bias")]
    odds = draw.dirichlet(np.ones(n_logits)) * 0.9
    nodes += [Node("logit", N_LAYERS, 2, i, probability=float(p)) for i, p in enumerate(odds)]
    size = len(nodes)
    adjacency = np.zeros((size, size))
    for t, target in enumerate(nodes):
        for s, source in enumerate(nodes):
            below = source.layer < target.layer and source.kind != "logit"
            if target.kind in ("feature", "logit") and below and draw.random() < density:
                adjacency[t, s] = draw.normal()
    return AttributionGraph(
        "random", "a b c", (7, 8, 9), ("a", "b", "c"), tuple(nodes), torch.tensor(adjacency).float(), 50
    )


def closed_form(graph: AttributionGraph) -> tuple[np.ndarray, np.ndarray]:
    """Shares, and p A (I - A)^-1, by a matrix inverse."""
    counted = graph.adjacency.numpy().astype(np.float64).copy()
    counted[:, [node.kind == "bias" for node in graph.nodes]] = 0
    total = np.abs(counted).sum(1, keepdims=True)
    shares = np.divide(np.abs(counted), total, out=np.zeros_like(counted), where=total > 0)
    weights = np.array([node.probability for node in graph.nodes])
    return shares, weights @ shares @ np.linalg.inv(np.eye(len(shares)) - shares)


@pytest.mark.parametrize("seed", range(4))
def test_influence_is_the_sum_of_all_paths(seed: int) -> None:
    graph = random_graph(seed)
    shares, right = closed_form(graph)
    np.testing.assert_allclose(node_influence(graph).numpy(), right, atol=1e-5)
    kinds = np.array([node.kind for node in graph.nodes])
    found = scores(graph)
    tokens, errors = right[kinds == "embedding"].sum(), right[kinds == "error"].sum()
    assert abs(found.replacement - tokens / (tokens + errors)) < 1e-5
    weight = right + np.array([node.probability for node in graph.nodes])
    target = np.isin(kinds, ("feature", "logit")) & (shares.sum(1) > 0)
    kept = (weight * (1 - shares[:, kinds == "error"].sum(1)))[target].sum() / weight[target].sum()
    assert abs(found.completeness - kept) < 1e-5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("share", "edge_share"), [(0.8, 0.98), (0.4, 0.7)])
def test_pruning_keeps_the_fewest_that_have_the_influence(seed: int, share: float, edge_share: float) -> None:
    graph = random_graph(seed)
    kinds = np.array([node.kind for node in graph.nodes])
    found = prune(graph, share, edge_share)
    _, influence = closed_form(graph)
    ranked = np.sort(influence)[::-1]
    needed = int(np.searchsorted(np.cumsum(ranked) / ranked.sum(), share)) + 1
    nodes = (influence >= ranked[needed - 1] - 1e-9) | np.isin(kinds, ("embedding", "logit"))
    nodes &= kinds != "bias"
    inner = graph.adjacency.numpy() * nodes[:, None] * nodes
    total = np.abs(inner).sum(1, keepdims=True)
    shares = np.divide(np.abs(inner), total, out=np.zeros_like(inner), where=total > 0).astype(np.float64)
    weights = np.array([node.probability for node in graph.nodes])
    through = weights @ np.linalg.inv(np.eye(len(shares)) - shares)
    edge = shares * through[:, None]
    ranked = np.sort(edge.flatten())[::-1]
    needed = int(np.searchsorted(np.cumsum(ranked) / ranked.sum(), edge_share)) + 1
    edges = edge >= ranked[needed - 1] - 1e-9
    edges &= inner != 0
    while True:
        edges = edges & nodes[:, None] & nodes
        out, into = edges.any(0), edges.any(1)
        dangling = nodes & (((kinds == "feature") & ~(out & into)) | ((kinds == "error") & ~out))
        if not dangling.any():
            break
        nodes = nodes & ~dangling
    np.testing.assert_array_equal(found.nodes.numpy(), nodes)
    np.testing.assert_array_equal(found.edges.numpy(), edges)
    assert found.nodes.sum() < len(graph.nodes) - 3
    order = np.argsort(-influence)
    np.testing.assert_allclose(
        found.cumulative.numpy()[order], np.cumsum(influence[order]) / influence.sum(), atol=1e-5
    )


def test_all_is_kept_if_all_is_asked_for_and_bad_shares_are_refused() -> None:
    graph = random_graph(0, density=1.0)
    found = prune(graph, 1.0, 1.0)
    biases = graph.of_kind("bias")
    last = torch.tensor([node.layer == N_LAYERS - 1 for node in graph.nodes])
    assert bool((found.nodes | biases)[~last].all())
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="no share"):
            prune(graph, wrong)


@pytest.mark.parametrize("seed", range(3))
def test_predictions_are_the_solution_of_the_linear_system(seed: int) -> None:
    graph = random_graph(seed)
    keys = [node.key for node in graph.nodes if node.kind == "feature"]
    factors = [{keys[0]: 0.0}, {keys[3]: -2.0, keys[9]: 3.0}, {"embedding/8@1": 0.5}]
    direct, total = predicted_changes(graph, factors)
    adjacency = graph.adjacency.numpy().astype(np.float64)
    values = np.array([node.value for node in graph.nodes])
    for row, one in enumerate(factors):
        change = np.zeros(len(values))
        for key, factor in one.items():
            change[graph.place(key)] = factor - 1
        np.testing.assert_allclose(direct[row].numpy(), adjacency @ change, atol=1e-4)
        # relative changes r = change where set, else (A r) / value for features: r = c + M r
        is_free = np.array([n.kind == "feature" for n in graph.nodes]) & (change == 0)
        matrix = np.where(is_free[:, None], adjacency / np.where(values == 0, 1, values)[:, None], 0)
        relative = np.linalg.solve(np.eye(len(values)) - matrix, change)
        np.testing.assert_allclose(total[row].numpy(), adjacency @ relative, rtol=1e-3, atol=1e-3)


def test_supernodes_sum_what_their_members_do() -> None:
    graph = random_graph(5)
    pruned = prune(graph, 1.0, 1.0)
    kept = [graph.nodes[i].key for i in pruned.nodes.nonzero()[:, 0].tolist()]
    first, second = tuple(kept[:4]), tuple(kept[5:8])
    found = collapse(pruned, by_hand(graph, {"first": first, "second": second}))
    assert found.names[:2] == ("first", "second") and found.members[:2] == (first, second)
    assert sorted(key for group in found.members for key in group) == sorted(kept)
    matrix = graph.adjacency.numpy() * pruned.edges.numpy()
    for t, targets in enumerate(found.members):
        for s, sources in enumerate(found.members):
            right = sum(matrix[graph.place(a), graph.place(b)] for a in targets for b in sources)
            assert abs(float(found.effects[t, s]) - right) < 1e-4
    logits = torch.tensor([group[0].startswith("logit") for group in found.members])
    total = sum(node.probability for node in graph.nodes if node.kind == "logit")
    assert abs(float(found.flow[logits].sum()) - total) < 1e-5  # all of the logits comes along some edge
    with pytest.raises(UserError, match="in two supernodes"):
        by_hand(graph, {"one": first, "two": first[:1]})
    with pytest.raises(UserError, match="no node"):
        by_hand(graph, {"one": ("s.9/9@9",)})


def test_groups_by_meaning_find_planted_topics(tmp_path: Path) -> None:
    """Descriptions of two topics from a store: each becomes one supernode; the side of a feature counts."""
    topics = {
        "france": ["towns in france", "rivers of france", "wine from france"],
        "songs": ["names of songs", "songs of love", "old songs"],
    }
    lines = [line for topic in topics.values() for line in topic]
    plain = random_graph(7)
    first = [replace(plain.nodes[0], value=-1.5), *plain.nodes[1:6]]
    store = Store(str(tmp_path / "store.sqlite"))
    store.put_space(SpaceRow("random", "s.0", "mlp_post.0", 0, 99, True))
    store.put(
        "random",
        [
            FeatureRow("s.0", node.feature, -1 if node.value < 0 else 1, descriptions=(told,))
            for node, told in zip(first, [DescriptionRow(line, "test") for line in lines], strict=True)
        ],
    )
    graph = described(replace(plain, nodes=(*first, *plain.nodes[6:])), Knowledge("random", [store]))
    store.close()
    assert [node.label for node in graph.nodes[:8]] == [*lines, "", ""]
    assert graph.nodes[-1].label == plain.nodes[-1].label
    found = by_meaning(prune(graph, 1.0, 1.0), TfidfEmbedder.fit(lines), distance=0.9)
    groups = {frozenset(one.keys) for one in found}
    assert groups == {frozenset(node.key for node in first[:3]), frozenset(node.key for node in first[3:])}
    assert {one.name.split(",")[0] for one in found} == {"france", "songs"}
