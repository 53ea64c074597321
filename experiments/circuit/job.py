"""The steps of `circuit`."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from scipy.stats import hypergeom

from interp.circuits.circuit import Circuit, random_edges, read_circuit, write_circuit
from interp.circuits.drawing import to_dot, to_svg
from interp.circuits.edge_attribution import EdgeScores, edge_scores
from interp.circuits.evaluation import Evaluator, minimality, sizes_of
from interp.circuits.node_attribution import node_scores
from interp.circuits.pairs import Pair, Pairs
from interp.circuits.wiring import Wiring
from interp.circuits.written import Corruption
from interp.parquet import read_parquet
from interp.statistics.estimate import (
    Estimate,
    by_item,
    mean_and_central,
    mean_interval,
    share_of_items,
)
from interp.statistics.splits import split_halves
from interp.track.files import (
    read_safetensors,
    write_parquet,
    write_safetensors,
    write_text,
)
from interp.track.records import redo
from interp.track.run import Run
from interp.track.step import Step
from interp.vectors.function import indirect_effects, mean_head_outputs, top_heads
from interp.vectors.tasks import Task, task_prompts

from ..common.job import SubjectJob
from .behaviours import naming, pairs_of
from .config import Config
from .measures import few_heads, heads_of, measured_circuit, measured_curves, single_edges
from .page import CircuitPage

SHOTS, PROMPTS, EFFECT_PROMPTS = 5, 50, 25
"""Examples in a prompt that shows a task, such prompts, and those without examples on which heads are set."""
NULL_DRAWS = 200
TABLES = ("curves", "areas", "circuits", "edges", "agreement", "minimality", "heads")


class Job(SubjectJob[Config]):
    """Finds each behaviour's circuit on one half of its pairs, and tests it on the other."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.wiring = Wiring.of(self.subject)
        listed = config.behaviours.open(config.pairs, config.seed)
        self.halves = {name: self._halves(name, own) for name, own in listed.items()}
        self.tasks: Sequence[Task] = ()
        if config.tasks is not None:
            self.tasks = config.tasks.open(self.subject, config.seed)
            run.tell(*(note for task in self.tasks for note in task.notes))
        self._made: dict[tuple[str, int], Evaluator] = {}

    @property
    def corruption(self) -> Corruption:
        """How the evaluators corrupt; pairs that are resampled have other corrupted prompts."""
        return "pair" if self.config.corruption == "resample" else self.config.corruption

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        names = list(self.halves)
        self.run.step("behaviour", self.behaviour)
        self.scores_file = self.run.step("scores", self.scores) / "scores.safetensors"
        for name in names:
            done = self.run.step(f"circuit-{name}", partial(self.circuit, name))
            self.publish(done / "circuits", "circuits")
        self.run.step("summary", self.summary)
        if self.tasks:
            self.run.step("function_heads", self.function_heads)
        if len(names) > 1:
            self.run.step("overlap", self.overlap)
        self.write_page(lambda: CircuitPage(self.run, self.config, self.subject, self.drawings()))

    def behaviour(self, step: Step) -> None:
        """Measures how often the model gets a behaviour right, on clean and on corrupted prompts."""
        rows, seed = [], self.config.seed
        with step.progress.task("asking", total=len(self.halves), unit="behaviours") as advance:
            for name, halves in self.halves.items():
                both = [self._evaluator(name, half) for half in range(2)]
                groups = np.unique([g for half in halves for g in half.groups], return_inverse=True)[1]
                row: dict[str, object] = {"behaviour": name, "metric": halves[0].metric}
                for side in ("clean", "corrupted"):
                    values = np.concatenate([getattr(one, side) for one in both])
                    row |= share_of_items(values > 0, groups, seed).named(f"{side}_right")
                    row |= mean_interval(by_item(values, groups), seed).named(f"{side}_mean")
                rows.append(row | {"pairs": len(groups), "groups": len({*groups}), "report": len(halves[1])})
                step.metric(f"{name}/right", row["clean_right"])
                advance()
        step.table("behaviour", pd.DataFrame(rows))

    def scores(self, step: Step) -> None:
        """Scores all edges by every method on the half to choose on."""
        config, tensors, tables = self.config, {}, []
        total = len(self.halves) * len(config.methods)
        with step.progress.task("scoring edges", total=total, unit="methods") as advance:
            for name, (to_choose, _) in self.halves.items():
                for method in config.methods:
                    found = edge_scores(
                        self.wiring, to_choose, method, corruption=self.corruption, steps=config.steps
                    )
                    tensors[f"{name}/{method}"] = found.values
                    tables.append(found.table(50).assign(behaviour=name, method=method))
                    advance()
        write_safetensors(step.folder / "scores.safetensors", tensors)
        step.table("scores", pd.concat(tables, ignore_index=True))

    def circuit(self, name: str, step: Step) -> None:
        """Finds a behaviour's circuit and its heads on one half, and tests them on the other."""
        config, scores = self.config, self._scores(name)
        to_choose, report = (self._evaluator(name, half) for half in range(2))
        sizes = sizes_of(self.wiring.graph.n_edges, config.sizes_per_doubling)
        with step.progress.task(name, total=4, unit="parts") as advance:
            curves, areas, found = measured_curves(
                to_choose, report, scores, sizes, config.level, config.random_draws
            )
            row = measured_circuit(to_choose, report, found, config.random_draws)
            advance()
            edges, agree = single_edges(report, scores, config.exact_edges, config.seed)
            advance()
            changes = minimality(report, found.circuit, config.minimality_edges, config.seed)
            row |= self._minimal(changes)
            advance()
            nodes = node_scores(self.wiring, to_choose.pairs, "exact", corruption=self.corruption)
            heads, kept = few_heads(to_choose, report, nodes, config.level, config.random_draws)
            advance()
        row |= {"heads": len(kept), "head_names": " ".join(kept)}
        ranked = [head for head in nodes.table()["node"] if head in {*heads_of(self.wiring.graph)}]
        row["first_heads"] = " ".join(ranked[: config.function_heads])
        frames = (curves, areas, pd.DataFrame([row]), edges, agree, changes, heads)
        for table, frame in zip(TABLES, frames, strict=True):
            write_parquet(step.folder / f"{table}.parquet", frame.assign(behaviour=name))
        files, own = step.folder / "circuits", scores[found.method]
        write_circuit(found.circuit, files / f"circuit-{name}.json")
        write_text(files / f"circuit-{name}.dot", to_dot(found.circuit, own))
        write_text(files / f"circuit-{name}.svg", to_svg(found.circuit, own, theme="light"))

    def summary(self, step: Step) -> None:
        """Joins the tables of all behaviours, and sets the figures of their circuits."""
        folders = [self.run.folder / "steps" / f"circuit-{name}" for name in self.halves]
        tables = {
            table: pd.concat(
                [read_parquet(folder / f"{table}.parquet", redo(folder)) for folder in folders],
                ignore_index=True,
            )
            for table in TABLES
        }
        for table, frame in tables.items():
            step.table(table, frame)
        for row in tables["circuits"].to_dict("records"):
            name = row["behaviour"]
            step.metric(f"{name}/edges", row["edges"], headline=True)
            step.estimate(f"{name}/faithfulness", *Estimate.of(row, "faithfulness"), headline=True)
            step.estimate(f"{name}/random", *Estimate.of(row, "random"))
            step.estimate(f"{name}/completeness", *Estimate.of(row, "completeness"))
            step.metric(f"{name}/heads", row["heads"], headline=True)

    def function_heads(self, step: Step) -> None:
        """Ranks heads by their effect in tasks, and counts those that are also heads of the circuits."""
        rows = []
        with step.progress.task("function-vector heads", total=len(self.tasks), unit="tasks") as advance:
            for task in self.tasks:
                prompts = task_prompts(self.subject, task, PROMPTS, SHOTS, seed=self.config.seed)
                means = mean_head_outputs(self.subject, prompts)
                asked = task.drawn(EFFECT_PROMPTS, self.config.seed + 1)
                corrupted = task.questions(self.subject, asked, 0, seed=self.config.seed)
                rows.append(indirect_effects(self.subject, corrupted, means))
                advance()
        effects = torch.stack(rows).mean(0)
        count = min(self.config.function_heads, effects.numel())
        found = [f"a{layer}.h{head}" for layer, head in top_heads(effects, count)]
        every = heads_of(self.wiring.graph)
        values = effects.flatten().tolist()
        table = pd.DataFrame({"head": every, "effect": values, "function": [h in found for h in every]})
        step.table("function_heads", table.sort_values("effect", ascending=False, ignore_index=True))
        shared = []
        for row in self.run.table("circuits").to_dict("records"):
            for which in ("head_names", "first_heads"):
                own = row[which].split()
                ends = hypergeom.ppf([0.025, 0.975], len(every), count, len(own))
                chance = Estimate(count * len(own) / len(every), *np.array(ends).tolist())
                one: dict[str, object] = {"behaviour": row["behaviour"], "heads": len(own)}
                one["which"] = "keep the level" if which == "head_names" else "have the largest effects"
                one |= {"shared": len({*own} & {*found}), "function": count, "of": len(every)}
                shared.append(one | chance.named("chance"))
        step.table("function_overlap", pd.DataFrame(shared))

    def overlap(self, step: Step) -> None:
        """Counts edges that circuits share, and tests each circuit on the other behaviours' pairs."""
        draws, seed = self.config.random_draws, self.config.seed
        circuits = {name: self._circuit(name) for name in self.halves}
        rng = torch.Generator().manual_seed(seed)
        rows = []
        for one, other in combinations(circuits, 2):
            pair = circuits[one], circuits[other]
            null = [shared_edges(*(random_edges(c, rng) for c in pair)) for _ in range(NULL_DRAWS)]
            row: dict[str, object] = {"one": one, "other": other, "shared": shared_edges(*pair)}
            rows.append(row | mean_and_central(np.array(null)).named("random"))
        step.table("shared_edges", pd.DataFrame(rows))
        crossed = []
        with step.progress.task("crossing", total=len(circuits) ** 2, unit="circuits") as advance:
            for of, circuit in circuits.items():
                for on in circuits:
                    report = self._evaluator(on, 1)
                    drawn = [report.values(random_edges(circuit, rng)) for _ in range(draws)]
                    crossing: dict[str, object] = {"circuit": of, "pairs": on}
                    crossing |= report.faithfulness(circuit).named("faithfulness")
                    crossed.append(crossing | report.normalised(np.mean(drawn, axis=0)).named("random"))
                    advance()
        step.table("crossed", pd.DataFrame(crossed))

    def drawings(self) -> dict[str, tuple[Circuit, EdgeScores]]:
        """Each behaviour's circuit, with the scores that it was chosen by."""
        circuits = self.run.table("circuits").set_index("behaviour")
        return {
            name: (self._circuit(name), self._scores(name)[str(circuits.loc[name, "method"])])
            for name in self.halves
        }

    def _halves(self, name: str, listed: Sequence[Pair]) -> tuple[Pairs, Pairs]:
        """The pairs to choose on and those to report on, which share no group."""
        config = self.config
        with naming(name):
            pairs = pairs_of(self.subject, listed, config.metric)
            if config.corruption == "resample":
                pairs = pairs.resampled(config.seed)
            to_choose, report = split_halves([""] * len(pairs), config.seed, contents=pairs.groups)
        return pairs.select(to_choose), pairs.select(report)

    def _evaluator(self, name: str, half: int) -> Evaluator:
        """The evaluator of a behaviour's first or second half, made when it is first asked for."""
        if (name, half) not in self._made:
            pairs = self.halves[name][half]
            with naming(name):
                self._made[name, half] = Evaluator(self.wiring, pairs, self.corruption, seed=self.config.seed)
        return self._made[name, half]

    def _scores(self, name: str) -> dict[str, EdgeScores]:
        tensors, graph = read_safetensors(self.scores_file)[0], self.wiring.graph
        metric = self.halves[name][0].metric
        return {m: EdgeScores(graph, tensors[f"{name}/{m}"], m, metric) for m in self.config.methods}

    def _circuit(self, name: str) -> Circuit:
        return read_circuit(self.run.folder / "circuits" / f"circuit-{name}.json")

    def _minimal(self, changes: pd.DataFrame) -> dict[str, object]:
        """The mean size of the change of faithfulness, of edges left out and of edges added."""
        row: dict[str, object] = {}
        for kept, name in ((True, "left_out"), (False, "added")):
            sizes = changes[changes["kept"] == kept]["change"].abs().to_numpy()
            row |= mean_interval(sizes, self.config.seed).named(name)
        return row


def shared_edges(one: Circuit, other: Circuit) -> float:
    """The share of the edges of either circuit that both have."""
    both = int((one.kept & other.kept).sum())
    return both / max(1, int((one.kept | other.kept).sum()))
