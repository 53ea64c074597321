"""What is measured of one behaviour: curves over sizes, its circuit, single edges, and heads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from interp.attribution.agreement import MEASURES, agreement
from interp.circuits.circuit import Choice, Circuit, greedy_edges, random_edges, top_edges
from interp.circuits.edge_attribution import EdgeScores
from interp.circuits.evaluation import Curve, Evaluator, faithfulness_curve, sizes_of
from interp.circuits.graph import INPUT, Graph
from interp.circuits.node_attribution import NodeScores
from interp.statistics.estimate import Estimate

CHOICES: tuple[Choice, ...] = ("top", "greedy")
BY_SCORE, AT_RANDOM = "by score", "at random"


def kept_by(scores: EdgeScores, choice: Choice, n: int) -> Circuit:
    """Keeps `n` edges, less what then dangles."""
    return (top_edges if choice == "top" else greedy_edges)(scores, n).pruned()


@dataclass(frozen=True)
class Found:
    """The smallest circuit that has the level on the half to choose on, and how it was chosen."""

    circuit: Circuit
    method: str
    choice: Choice
    size: int


def measured_curves(
    to_choose: Evaluator,
    report: Evaluator,
    scores: Mapping[str, EdgeScores],
    sizes: Sequence[int],
    level: float,
    draws: int,
) -> tuple[pd.DataFrame, pd.DataFrame, Found]:
    """Measures the circuits of every method and choice at every size on both halves.

    Returns the curves, the areas under them (their intervals are the areas under the ends of the curve's
    intervals, which is cautious), and the circuit found: of every method and choice the smallest size from
    which on the level is reached on the half to choose on, the fewest edges of all, then smaller by halving
    the gap to the size that fails. Random circuits are drawn for the method and choice found.
    """
    curves: dict[tuple[str, Choice], Curve] = {}
    for method, of_method in scores.items():
        for choice in CHOICES:
            circuits = {n: kept_by(of_method, choice, n) for n in sizes}
            curves[method, choice] = faithfulness_curve(to_choose, circuits, 0)
    candidates = {
        (method, choice): kept_by(scores[method], choice, size).n_edges
        for (method, choice), curve in curves.items()
        if (size := curve.smallest(level)) is not None
    }
    best = min(candidates, key=lambda key: (candidates[key], -curves[key].area()))
    found = _halved(to_choose, scores[best[0]], best, curves[best], level)
    frames, areas = [], []
    for (method, choice), curve in curves.items():
        chosen = (method, choice) == best
        circuits = {n: kept_by(scores[method], choice, n) for n in sizes}
        reported = faithfulness_curve(report, circuits, draws if chosen else 0)
        for half, one in (("choose", curve), ("report", reported)):
            named = one.table.assign(method=method, choice=choice, chosen=chosen, half=half)
            frames.append(named)
        ends = ("faithfulness", "faithfulness_low", "faithfulness_high")
        row: dict[str, object] = {"method": method, "choice": choice, "chosen": chosen}
        row |= Estimate(*map(reported.area, ends)).named("area")
        if chosen:
            row |= Estimate(*map(reported.area, ("random", "random_low", "random_high"))).named("random")
        areas.append(row | {"area_choose": curve.area()})
    return pd.concat(frames, ignore_index=True), pd.DataFrame(areas), found


def _halved(
    to_choose: Evaluator, scores: EdgeScores, best: tuple[str, Choice], curve: Curve, level: float
) -> Found:
    """Looks for a smaller circuit between the smallest size that has the level and the one before it."""
    method, choice = best
    enough = curve.smallest(level)
    assert enough is not None
    smaller = [int(size) for size in curve.table["edges"] if size < enough]

    def has_level(size: int) -> bool:
        return to_choose.faithfulness(kept_by(scores, choice, size)).value >= level

    size = least_between(has_level, smaller[-1] if smaller else 0, enough)
    return Found(kept_by(scores, choice, size), method, choice, size)


def least_between(has_level: Callable[[int], bool], too_few: int, enough: int) -> int:
    """Halves the gap between a size that is too small and one that is enough, to within 5%."""
    while enough - too_few > max(1, enough // 20):
        middle = (enough + too_few) // 2
        if has_level(middle):
            enough = middle
        else:
            too_few = middle
    return enough


def measured_circuit(to_choose: Evaluator, report: Evaluator, found: Found, draws: int) -> dict[str, object]:
    """Measures a circuit and all that it leaves out, beside random circuits of its size."""
    circuit = found.circuit
    rng = torch.Generator().manual_seed(report.seed)
    drawn = [random_edges(circuit, rng) for _ in range(draws)]

    def of_random(circuits: Sequence[Circuit]) -> Estimate:
        return report.normalised(np.mean([report.values(one) for one in circuits], axis=0))

    row: dict[str, object] = {
        "method": found.method,
        "choice": found.choice,
        "edges": circuit.n_edges,
        "of_edges": circuit.graph.n_edges,
        "nodes": len(circuit.nodes),
        "of_nodes": len(circuit.graph.nodes),
        "faithfulness_choose": to_choose.faithfulness(circuit).value,
    }
    row |= report.faithfulness(circuit).named("faithfulness")
    row |= of_random(drawn).named("random")
    row |= report.completeness(circuit).named("completeness")
    row |= of_random([one.complement() for one in drawn]).named("random_completeness")
    return row


def drawn_edges(scores: Mapping[str, EdgeScores], count: int, seed: int) -> dict[str, str]:
    """Draws edges: half are in turn each method's next largest, half are random others; edge to how."""
    tables = [one.table()["edge"].tolist() for one in scores.values()]
    in_turn = dict.fromkeys(edge for edges in zip(*tables, strict=True) for edge in edges)
    largest = list(in_turn)[: count // 2]
    others = sorted({*in_turn} - {*largest})
    rng = np.random.default_rng(seed)
    random = rng.choice(others, min(count - len(largest), len(others)), replace=False).tolist()
    return dict.fromkeys(largest, BY_SCORE) | dict.fromkeys(random, AT_RANDOM)


def single_edges(
    report: Evaluator, scores: Mapping[str, EdgeScores], count: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Patches edges one by one, and holds every method's scores against what that changes.

    Returns the edges, with the mean change of the metric (`exact`) and each method's score; and the agreement
    of each method, beside its scores in random order. Intervals are over edges.
    """
    graph = report.wiring.graph
    drawn = drawn_edges(scores, count, seed)
    without = [Circuit(graph, graph.exists & ~graph.of_edges([edge])) for edge in drawn]
    exact = (report.values_of(without) - report.clean).mean(1)
    table = pd.DataFrame({"edge": list(drawn), "drawn": list(drawn.values()), "exact": exact})
    rows = []
    for method, one in scores.items():
        table[method] = [float(one.values[graph.edge(edge)]) for edge in drawn]
        found = agreement(table[method].to_numpy(), exact, k=max(1, count // 4), seed=seed)
        row: dict[str, object] = {"method": method, "n": found.n, "k": found.k}
        for measure in MEASURES:
            row |= getattr(found.approximation, measure).named(measure)
            row |= getattr(found.random, measure).named(f"{measure}_random")
        rows.append(row)
    return table, pd.DataFrame(rows)


def heads_of(graph: Graph) -> list[str]:
    """The names of all heads."""
    return [name for name in graph.sources if name.startswith("a")]


def with_heads(graph: Graph, heads: Sequence[str]) -> Circuit:
    """Keeps all that the input, the MLPs and these heads write."""
    rest = [name for name in graph.sources if name == INPUT or name.startswith("m")]
    return Circuit(graph, graph.of_nodes([*rest, *heads]))


def few_heads(
    to_choose: Evaluator, report: Evaluator, scores: NodeScores, level: float, draws: int
) -> tuple[pd.DataFrame, list[str]]:
    """Keeps the first heads by the size of their scores, with the input and all MLPs, beside random heads.

    Returns faithfulness by number of heads on both halves, `chosen` where it is the smallest number that has
    the level on the half to choose on; and these heads.
    """
    graph = to_choose.wiring.graph
    every = heads_of(graph)
    ranked = [name for name in scores.table()["node"] if name in {*every}]

    def faithful(count: int) -> Estimate:
        return to_choose.faithfulness(with_heads(graph, ranked[:count]))

    counts = [0, *sizes_of(len(every))]
    on_choose = {count: faithful(count) for count in counts}
    enough = max((n for n in counts if on_choose[n].value < level), default=-1)
    too_few, enough = enough, min((n for n in counts if n > enough), default=len(every))
    enough = least_between(lambda n: faithful(n).value >= level, too_few, enough)
    rng, rows = np.random.default_rng(report.seed), []
    for count in sorted({*counts, enough}):
        sets = [rng.choice(every, count, replace=False).tolist() for _ in range(draws)]
        drawn = [report.values(with_heads(graph, names)) for names in sets]
        row: dict[str, object] = {"heads": count, "chosen": count == enough}
        row |= (on_choose.get(count) or faithful(count)).named("faithfulness_choose")
        row |= report.faithfulness(with_heads(graph, ranked[:count])).named("faithfulness")
        rows.append(row | report.normalised(np.mean(drawn, axis=0)).named("random"))
    return pd.DataFrame(rows), ranked[:enough]
