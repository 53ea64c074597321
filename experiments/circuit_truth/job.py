"""The steps of `circuit_truth`."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from sklearn.metrics import average_precision_score

import interp
from interp.circuits.circuit import Circuit, top_edges
from interp.circuits.edge_attribution import EdgeScores, Method, edge_scores
from interp.circuits.evaluation import Evaluator
from interp.circuits.pairs import Pair, Pairs
from interp.circuits.wiring import Wiring
from interp.statistics.estimate import mean_interval
from interp.toys.compiled import PROGRAMS
from interp.toys.compiled.folder import build
from interp.toys.compiled.program import Program
from interp.toys.compiled.truth import truth
from interp.track.step import Step

from ..common.job import ExperimentJob
from .config import Config
from .page import RANDOM, TRUE, CircuitTruthPage

PATHS: tuple[Method, ...] = ("eap_ig_inputs", "eap_ig_activations")
MEASURES = ("average precision", "found", "faithfulness")


class Known(NamedTuple):
    """A compiled program as a model, and which of its edges are true [edge], of those that can be told."""

    program: Program
    wiring: Wiring
    told: Bool[torch.Tensor, "source reader"]
    true: Bool[np.ndarray, " edge"]
    whole: Circuit


class Job(ExperimentJob[Config]):
    """Scores the edges of compiled models by every method, and holds them to the programs."""

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        for name in self.config.programs:
            for sharpness in self.config.sharpness:
                work = partial(self.score, name=name, sharpness=sharpness)
                self.run.step(f"{name}-{sharpness:g}", work)
        self.run.step("summary", self.summary)
        self.write_page(lambda: CircuitTruthPage(self.run, self.config))

    def score(self, step: Step, name: str, sharpness: float) -> None:
        """Scores one program's edges on several sets of pairs, by every method and by chance."""
        known = self._known(name, sharpness, step)
        rows, edges = [], []
        for number in range(self.config.sets):
            seed = self.config.seed + 2 * number
            pairs, others = (self._pairs(known, one) for one in (seed, seed + 1))
            evaluator = Evaluator(known.wiring, others)
            rng = np.random.default_rng(seed)
            for method, values in self._scored(known, pairs, rng):
                row: dict[str, object] = {"program": name, "sharpness": sharpness, "set": number}
                rows.append(row | {"method": method} | _measured(known, values, evaluator))
                if number == 0:
                    edges.append(_by_edge(known, values, method))
            own = evaluator.faithfulness(known.whole).value
            rows.append(
                {"program": name, "sharpness": sharpness, "set": number, "method": TRUE,
                 "average precision": 1.0, "found": 1.0, "faithfulness": own}
            )  # fmt: skip
        step.table(f"sets-{name}-{sharpness:g}", pd.DataFrame(rows))
        step.table(f"edges-{name}-{sharpness:g}", pd.concat(edges, ignore_index=True))

    def summary(self, step: Step) -> None:
        """Averages over the sets of pairs."""
        sets = pd.concat(
            [
                self.run.table(f"sets-{name}-{sharpness:g}")
                for name in self.config.programs
                for sharpness in self.config.sharpness
            ],
            ignore_index=True,
        )
        rows = []
        for (program, sharpness, method), own in sets.groupby(["program", "sharpness", "method"], sort=False):
            row: dict[str, object] = {"program": program, "sharpness": sharpness, "method": method}
            for measure in MEASURES:
                row |= mean_interval(own[measure].to_numpy(dtype=float), self.config.seed).named(measure)
            rows.append(row)
        step.table("summary", pd.DataFrame(rows))
        for row in rows:
            if row["sharpness"] == self.config.sharpness[0]:
                step.metric(f"{row['program']}/{row['method']}/average precision", row["average precision"])

    def _known(self, name: str, sharpness: float, step: Step) -> Known:
        """Compiles a program, and loads it as a model."""
        program = replace(PROGRAMS[name], sharpness=sharpness)
        subject = interp.load(build(program, step.scratch / "model"), device=self.config.device)
        wiring, known = Wiring.of(subject), truth(program)
        told = wiring.graph.exists & ~wiring.graph.of_edges(known.still)
        step.metric(f"{step.name}/edges", int(told.sum()))
        step.metric(f"{step.name}/true edges", len(known.edges))
        true = wiring.graph.of_edges(known.edges)[told].numpy()
        whole = Circuit(wiring.graph, wiring.graph.of_edges(known.edges | known.still))
        return Known(program, wiring, told, true, whole)

    def _pairs(self, known: Known, seed: int) -> Pairs:
        drawn = known.program.pairs(self.config.pairs, seed)
        return Pairs.of_lines(known.wiring.subject, [Pair(**pair) for pair in drawn])

    def _scored(
        self, known: Known, pairs: Pairs, rng: np.random.Generator
    ) -> Iterator[tuple[str, Float[torch.Tensor, "source reader"]]]:
        """Yields every method's scores, and those of a random ranking."""
        for method in self.config.methods:
            for steps in self.config.steps if method in PATHS else (1,):
                found = edge_scores(known.wiring, pairs, method, steps=steps, rows_at_once=64)
                yield f"{method}, {steps} steps" if method in PATHS else method, found.values
        shape = known.wiring.graph.exists.shape
        yield RANDOM, torch.from_numpy(rng.random(shape)) * known.wiring.graph.exists


def _measured(
    known: Known, values: Float[torch.Tensor, "source reader"], evaluator: Evaluator
) -> dict[str, float]:
    """Holds a ranking to the truth, and runs the circuit of its first edges, as many as are true.

    Edges that cannot be told are left out of the ranking, and kept in the circuit.
    """
    sizes = values.abs()[known.told].numpy()
    n_true = int(known.true.sum())
    first = np.argsort(-sizes, kind="stable")[:n_true]
    ranked = EdgeScores(known.wiring.graph, values * known.told, "eap", "logit_difference")
    chosen = top_edges(ranked, n_true).kept | (known.wiring.graph.exists & ~known.told)
    return {
        "average precision": float(average_precision_score(known.true, sizes)),
        "found": float(known.true[first].mean()),
        "faithfulness": float(evaluator.faithfulness(Circuit(known.wiring.graph, chosen)).value),
    }


def _by_edge(known: Known, values: Float[torch.Tensor, "source reader"], method: str) -> pd.DataFrame:
    """Every edge's score and whether it is true."""
    names = known.wiring.graph.edge_names(known.told)
    return pd.DataFrame(
        {"method": method, "edge": names, "true": known.true, "score": values[known.told].numpy()}
    )
