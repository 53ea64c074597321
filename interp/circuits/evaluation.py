"""How much of a behaviour a circuit keeps, measured by really corrupting all other edges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from interp.circuits.circuit import Circuit, random_edges
from interp.circuits.pairs import Pairs
from interp.circuits.patched import patched_each, patched_logits
from interp.circuits.wiring import Wiring
from interp.circuits.written import Corrupted, Corruption, Written, written_in
from interp.errors import UserError
from interp.statistics.estimate import Estimate, by_item, mean_interval, ratio_interval

DRAWS = 2000


class Faithfulness:
    """How much of a behaviour is kept: where a run's metric lies between nothing kept and everything."""

    def __init__(
        self,
        pairs: Pairs,
        clean: Float[np.ndarray, " pair"],
        corrupted: Float[np.ndarray, " pair"],
        seed: int,
        model: str,
    ) -> None:
        """Takes the metric of each pair with everything kept, and with nothing.

        Raises:
            UserError: faithfulness is not defined, since the first is not reliably above the second (the 95%
                interval of the difference over groups reaches zero).
        """
        self.pairs, self.clean, self.corrupted, self.seed = pairs, clean, corrupted, seed
        self._groups = np.unique(pairs.groups, return_inverse=True)[1]
        effect = mean_interval(by_item(clean - corrupted, self._groups), seed)
        if not effect.low > 0:
            raise UserError(
                f"the {pairs.metric} is {clean.mean():.3g} for clean prompts and "
                f"{corrupted.mean():.3g} with everything corrupted, so faithfulness is not defined",
                f"{len(pairs)} pairs on {model}",
                "give pairs that the model tells apart, more of them, or another corruption",
            )

    def normalised(self, values: Float[np.ndarray, " pair"]) -> Estimate:
        """(m - m(nothing kept)) / (m(everything) - m(nothing)), m the mean metric; interval over groups.

        1 where the run does what the model does, 0 where it does no more than with everything corrupted; it
        may be above 1, or negative (Wang et al. 2022, arXiv 2211.00593; Marks et al. 2024, arXiv 2403.19647).
        """
        return ratio_interval(
            values - self.corrupted, self.clean - self.corrupted, self._groups, DRAWS, self.seed
        )


class Evaluator(Faithfulness):
    """Runs circuits on pairs. What the whole model and no edge at all give is run once, when it is made."""

    def __init__(
        self,
        wiring: Wiring,
        pairs: Pairs,
        corruption: Corruption = "pair",
        *,
        rows_at_once: int = 32,
        seed: int = 0,
    ) -> None:
        """Prepares the pairs.

        Raises:
            UserError: there is no such corruption, or faithfulness is not defined.
        """
        self.wiring, self.rows_at_once = wiring, rows_at_once
        prepared = Corrupted(wiring, pairs, corruption, rows_at_once)
        self._batches: list[tuple[Pairs, Written, torch.Tensor]] = []
        for batch in pairs.batches(rows_at_once):
            clean, logits = written_in(wiring, batch.clean)
            self._batches.append((batch, prepared.of(batch, clean), logits))
        whole = torch.cat([batch.value(logits, logits) for batch, _, logits in self._batches])
        nothing = Circuit(wiring.graph, torch.zeros_like(wiring.graph.exists))
        super().__init__(pairs, whole.double().cpu().numpy(), self.values(nothing), seed, wiring.subject.name)

    def values(self, circuit: Circuit) -> Float[np.ndarray, " pair"]:
        """The metric of each pair, with all edges corrupted that the circuit does not keep.

        Raises:
            UserError: the circuit is of another model's graph.
        """
        self.wiring.graph.check(circuit.graph, "circuit")
        found = [
            batch.value(patched_logits(self.wiring, batch.clean, circuit.kept, corrupted), logits)
            for batch, corrupted, logits in self._batches
        ]
        return torch.cat(found).double().cpu().numpy()

    def values_of(self, circuits: Sequence[Circuit]) -> Float[np.ndarray, "circuit pair"]:
        """The metric of each pair under each of some circuits without positions, several in one pass."""
        for circuit in circuits:
            self.wiring.graph.check(circuit.graph, "circuit")
        kept = torch.stack([circuit.kept for circuit in circuits])
        found = [
            patched_each(self.wiring, batch, kept, corrupted, logits, self.rows_at_once)
            for batch, corrupted, logits in self._batches
        ]
        return torch.cat(found, 1).double().cpu().numpy()

    def faithfulness(self, circuit: Circuit) -> Estimate:
        """How much of the behaviour the circuit keeps, with all other edges corrupted (`normalised`)."""
        return self.normalised(self.values(circuit))

    def completeness(self, circuit: Circuit) -> Estimate:
        """The faithfulness of all that the circuit leaves out: near 0 if nothing that matters is missing."""
        return self.faithfulness(circuit.complement())


@dataclass(frozen=True, eq=False, repr=False)
class Curve:
    """Faithfulness over sizes: a row for each size, with `edges`, `faithfulness` and its interval, and the
    same of random circuits of the size (`random`, averaged over draws pair by pair)."""

    table: pd.DataFrame
    n_edges: int

    def area(self, of: str = "faithfulness") -> float:
        """The mean over the logarithm of the size, by trapezes, of faithfulness cut to 0 and 1.

        1 would be a circuit that does everything with the fewest edges measured. Like the area over sizes of
        the MIB benchmark (Mueller et al. 2025, arXiv 2504.13151), but on a logarithmic axis.
        """
        x = np.log(self.table["edges"].to_numpy(dtype=float))
        y = self.table[of].to_numpy(dtype=float).clip(0, 1)
        return float(np.trapezoid(y, x) / (x[-1] - x[0])) if len(x) > 1 else float(y[0])

    def smallest(self, level: float) -> int | None:
        """The size from which on every circuit measured has this faithfulness; None if the last has not."""
        enough = self.table["faithfulness"].to_numpy() >= level
        if not enough[-1]:
            return None
        first = len(enough) - int(np.argmin(enough[::-1])) if not enough.all() else 0
        return int(self.table["edges"].iloc[first])


def sizes_of(n_edges: int, per_doubling: float = 1) -> list[int]:
    """Sizes of circuits, evenly spaced on a logarithmic axis, from one edge to all."""
    count = int(np.ceil(np.log2(n_edges) * per_doubling)) + 1
    found = np.unique(np.rint(np.geomspace(1, n_edges, count)).astype(int))
    return [int(size) for size in found]


def faithfulness_curve(evaluator: Evaluator, circuits: Mapping[int, Circuit], random_draws: int = 3) -> Curve:
    """Evaluates circuits by size, each beside random circuits with as many edges of each kind of reader."""
    rng = torch.Generator().manual_seed(evaluator.seed)
    rows = []
    for size, circuit in sorted(circuits.items()):
        drawn = [random_edges(circuit, rng) for _ in range(random_draws)]
        values = [evaluator.values(one) for one in (circuit, *drawn)]
        row: dict[str, object] = {"edges": size, "kept": circuit.n_edges, "nodes": len(circuit.nodes)}
        row |= evaluator.normalised(values[0]).named("faithfulness")
        row |= evaluator.normalised(np.mean(values[1:], axis=0)).named("random") if drawn else {}
        rows.append(row)
    return Curve(pd.DataFrame(rows), evaluator.wiring.graph.n_edges)


def minimality(evaluator: Evaluator, circuit: Circuit, most: int = 64, seed: int = 0) -> pd.DataFrame:
    """What one edge less, or one edge more, changes of a circuit's faithfulness.

    Every edge of the circuit (at most so many, drawn) is left out, and as many edges that it lacks are added,
    each by itself: `edge`, `kept` (whether it is the circuit's), `change` of faithfulness and its interval.
    In a minimal circuit, leaving out changes much and adding little.
    """
    rng = np.random.default_rng(seed)
    graph = circuit.graph
    inside = circuit.kept.nonzero().numpy()
    outside = (graph.exists & ~circuit.kept).nonzero().numpy()
    inside = inside[np.sort(rng.permutation(len(inside))[:most])]
    outside = outside[np.sort(rng.permutation(len(outside))[: len(inside)])]
    changed = []
    for source, reader in (*inside, *outside):
        kept = circuit.kept.clone()
        kept[source, reader] = ~kept[source, reader]
        changed.append(Circuit(graph, kept))
    whole = evaluator.values(circuit)
    rows = []
    for place, values in enumerate(evaluator.values_of(changed)):
        source, reader = (*inside, *outside)[place]
        name = f"{graph.sources[source]}->{graph.readers[reader]}"
        change = evaluator.normalised(values - whole + evaluator.corrupted)
        rows.append({"edge": name, "kept": place < len(inside)} | change.named("change"))
    return pd.DataFrame(rows)
