"""A circuit of Gemma 3 270M: norms after matrices, one key for four heads, and half precision."""

import pytest

from interp.bundled.gemma.pairs import pairs
from interp.circuits import Circuit, Evaluator, Pairs, Wiring, edge_scores, top_edges
from interp.circuits.pairs import Pair
from interp.subject import Subject

EDGES = 400


@pytest.fixture(scope="module")
def evaluator(gemma: Subject) -> Evaluator:
    """Capitals of six countries."""
    listed = [Pair(**one) for one in pairs("capital", 6, seed=0)]
    return Evaluator(Wiring.of(gemma), Pairs.of_lines(gemma, listed))


def test_a_few_edges_carry_most_of_a_capital(evaluator: Evaluator) -> None:
    graph = evaluator.wiring.graph
    assert (graph.n_heads, graph.n_groups) == (4, 1)
    assert evaluator.faithfulness(Circuit(graph, graph.exists)).value == pytest.approx(1, abs=0.02)
    scores = edge_scores(evaluator.wiring, evaluator.pairs, "eap_ig_inputs", steps=3)
    chosen = top_edges(scores, EDGES).pruned()
    assert chosen.n_edges < graph.n_edges / 10
    assert evaluator.faithfulness(chosen).value > 0.6
    assert evaluator.completeness(chosen).value < 0.3
