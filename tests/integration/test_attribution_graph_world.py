"""Neurons of the world's model: what a graph calls influential matters, more than other active neurons."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from interp.bundled.world.facts import facts
from interp.circuits.attribution_graphs.build import attribution_graph
from interp.circuits.attribution_graphs.graph import AttributionGraph
from interp.circuits.attribution_graphs.interventions import Effects, intervene
from interp.circuits.attribution_graphs.pruning import node_influence, prune, scores
from interp.features.neurons import MlpNeurons
from interp.statistics.estimate import mean_interval
from interp.subject import Subject
from tests.subjects import world_subject

N_PROMPTS, N_REMOVED, N_DRAWS = 10, 10, 5


@dataclass(frozen=True)
class Traced:
    """One prompt's graph; effects of removing the most influential neurons, and random ones of the graph."""

    graph: AttributionGraph
    effects: Effects


@pytest.fixture(scope="module")
def world() -> Subject:
    return world_subject()


@pytest.fixture(scope="module")
def spaces(world: Subject) -> Sequence[MlpNeurons]:
    return [MlpNeurons(world, layer) for layer in range(world.n_layers)]


@pytest.fixture(scope="module")
def traced(world: Subject, spaces: Sequence[MlpNeurons]) -> list[Traced]:
    capitals = facts().relations["capital"]
    draw = np.random.default_rng(0)
    found = []
    for country in draw.permutation(sorted(capitals))[:N_PROMPTS]:
        prompt = f"the capital of {country} is"
        graph = attribution_graph(world, prompt, spaces, targets=[capitals[country]], max_features=200)
        features = graph.of_kind("feature")
        strength = node_influence(graph).masked_fill(~features, -1)
        sets = [strength.topk(N_REMOVED).indices.tolist()]
        others = np.array(sorted({*features.nonzero()[:, 0].tolist()} - {*sets[0]}))
        sets += [draw.choice(others, N_REMOVED, replace=False).tolist() for _ in range(N_DRAWS)]
        singles = draw.choice(features.nonzero()[:, 0].numpy(), 10, replace=False)
        factors = [{graph.nodes[i].key: 0.0 for i in chosen} for chosen in [*sets, *([i] for i in singles)]]
        found.append(Traced(graph, intervene(world, spaces, graph, factors)))
    return found


def test_rows_sum_to_values(traced: list[Traced]) -> None:
    for one in traced:
        targets = one.graph.of_kind("feature", "logit")
        gap = (one.graph.adjacency.sum(1) - one.graph.values)[targets].abs().max()
        assert float(gap) < 1e-4 * float(one.graph.values.abs().max())


def test_removing_the_most_influential_neurons_costs_the_answer_most(traced: list[Traced]) -> None:
    drops = torch.stack([-one.effects.logits("actual")[: 1 + N_DRAWS, 0] for one in traced]).numpy()
    more = mean_interval(drops[:, 0] - drops[:, 1:].mean(1), seed=0)
    print(f"top {drops[:, 0].mean():.2f}, random {drops[:, 1:].mean():.2f}, more {more}")
    assert more.low > 0


def test_the_graph_predicts_what_happens_in_the_model(traced: list[Traced]) -> None:
    """Changes of all later neurons and of the logit, by single neurons that are removed; null: shuffled."""
    found = [one.effects.agreement(draws=50) for one in traced]
    spearman = mean_interval(np.array([one.approximation.spearman.value for one in found]), seed=0)
    null = mean_interval(np.array([one.random.spearman.value for one in found]), seed=0)
    print(f"spearman {spearman}, shuffled {null}")
    assert spearman.low > 0.3 > null.high
    predicted = np.concatenate([one.effects.logits("total")[:, 0].numpy() for one in traced])
    actual = np.concatenate([one.effects.logits("actual")[:, 0].numpy() for one in traced])
    print(f"logits: r = {np.corrcoef(predicted, actual)[0, 1]:.3f}")
    assert np.corrcoef(predicted, actual)[0, 1] > 0.5


def test_graphs_are_small_and_mostly_explained(traced: list[Traced]) -> None:
    for one in traced:
        pruned, found = prune(one.graph), scores(one.graph)
        assert 10 < int(pruned.nodes.sum()) < 150
        assert 0.5 < found.replacement < 1 and 0.5 < found.completeness < 1


def test_the_country_is_the_token_that_matters(traced: list[Traced]) -> None:
    """Of all embeddings, the country's has the largest influence; chance would be one in six."""
    first = []
    for one in traced:
        strength = node_influence(one.graph).masked_fill(~one.graph.of_kind("embedding"), -1)
        first.append(one.graph.nodes[int(strength.argmax())].position == len(one.graph.tokens) - 2)
    assert np.mean(first) > 0.8
