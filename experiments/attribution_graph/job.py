"""The steps of `attribution_graph`."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from interp.circuits.attribution_graphs import (
    attribution_graph,
    described,
    graph_file,
    prune,
    scores,
)
from interp.circuits.attribution_graphs.layers import layer_of
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.space import ReadableFeatures
from interp.monitor.knowledge import Knowledge
from interp.parquet import read_parquet
from interp.statistics.estimate import mean_interval
from interp.store.bundled import is_described
from interp.store.store import open_store
from interp.track.files import write_parquet
from interp.track.records import redo
from interp.track.run import Run
from interp.track.step import Step
from saes.load import load

from ..common.dictionaries.training import TrainingJob
from ..common.frames import groups
from ..common.job import SubjectJob
from .config import Config
from .page import MEASURES, GraphPage
from .removals import Removals

NO_FEATURES = "no features"
TABLES = ("graphs", "removals", "features")
HEADLINE = ("replacement", "completeness", "drop", "random")
Spaces = Mapping[str, Sequence[ReadableFeatures]]


class Job(TrainingJob[Config]):
    """Trains transcoders, makes the graphs of every prompt, and tests them by removing features."""

    def __init__(self, config: Config, run: Run) -> None:
        SubjectJob.__init__(self, config, run)
        if config.trains:
            self.corpus = self.open_corpus(config.corpus, self.subject)
        self.prompts = config.prompts.open(config.seed)
        for number, one in enumerate(self.prompts, 1):
            ids = self.subject.to_tokens(one.prompt)[0].tolist()
            if one.answer is not None:
                place = f"prompt {number}"
                self.subject.continuation(ids, one.answer, place).token(place)
        self.published = [source.open(self.subject) for source in config.dictionaries]
        layers = [layer_of(space) for space in self.published]
        if len({*layers}) < len(layers):
            raise UserError("two explain the MLP of one layer", "dictionaries", "give one for each layer")
        where = config.store or (self.subject.name if is_described(self.subject.name) else None)
        self.knowledge = Knowledge(self.subject.name, [] if where is None else [open_store(where)])

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        if self.config.trains:
            self.train_and_measure()
        spaces = self._spaces()
        for place in range(len(self.prompts)):
            done = self.run.step(f"prompt-{place + 1:02d}", partial(self.prompt, place, spaces))
            self.publish(done / "graphs", "graphs")
        self.run.step("summary", self.summary)
        self.write_page(lambda: GraphPage(self.run, self.config, self.subject))

    def prompt(self, place: int, spaces: Spaces, step: Step) -> None:
        """Makes a prompt's graph with each kind of features, and removes features of it."""
        config, one = self.config, self.prompts[place]
        rows, removals, features = [], [], []
        with step.progress.task(one.prompt, total=len(spaces) + 1, unit="graphs") as advance:
            for kind, own in {**spaces, NO_FEATURES: ()}.items():
                graph = attribution_graph(
                    self.subject,
                    one.prompt,
                    own,
                    targets=None if one.answer is None else [one.answer],
                    max_logits=1,
                    max_features=config.max_features,
                )
                answer = graph.nodes[-1]
                row: dict[str, object] = {"prompt": place + 1, "text": one.prompt, "group": one.group}
                row |= {"answer": answer.label.strip(), "probability": answer.probability, "kind": kind}
                row |= {"n_active": graph.n_active, "features": int(graph.of_kind("feature").sum())}
                row |= vars(scores(graph))
                if own:
                    graph = described(graph, self.knowledge)
                    pruned = prune(graph, config.node_share, config.edge_share)
                    name = f"{place + 1:02d}-{kind}"
                    (step.folder / "graphs").mkdir(exist_ok=True)
                    graph_file(pruned, name).write(step.folder / "graphs" / f"{name}.json")
                    row |= {"nodes": int(pruned.nodes.sum()), "edges": int(pruned.edges.sum())}
                    tested = Removals(
                        self.subject, own, graph, config.removed, config.random_draws, (config.seed, place)
                    )
                    row |= tested.measures()
                    removals.append(tested.table().assign(prompt=place + 1, kind=kind))
                    features.append(tested.features().assign(prompt=place + 1, kind=kind))
                rows.append(row)
                advance()
        frames = (pd.DataFrame(rows), *(pd.concat(each, ignore_index=True) for each in (removals, features)))
        for table, frame in zip(TABLES, frames, strict=True):
            write_parquet(step.folder / f"{table}.parquet", frame)

    def summary(self, step: Step) -> None:
        """Joins the tables of all prompts; means and intervals are over prompts."""
        folders = [self.run.folder / "steps" / f"prompt-{n + 1:02d}" for n in range(len(self.prompts))]
        for table in TABLES:
            parts = [read_parquet(folder / f"{table}.parquet", redo(folder)) for folder in folders]
            frame = pd.concat(parts, ignore_index=True)
            step.table(table, frame)
            if table == "graphs":
                graphs = frame
        kinds = self._means(graphs, "kind")
        step.table("kinds", kinds)
        step.table("groups", self._means(graphs[graphs["kind"] != NO_FEATURES], "group", "kind"))
        for row in kinds.to_dict("records"):
            for name in MEASURES:
                ends = (row[name], row[f"{name}_low"], row[f"{name}_high"])
                if np.isfinite(row[name]):
                    key = f"{row['kind'].replace(' ', '_')}/{name}"
                    step.estimate(key, *ends, headline=name in HEADLINE and row["kind"] != NO_FEATURES)
        wide = graphs.pivot(index="prompt", columns="kind", values=list(MEASURES))
        rows = []
        if len(self.config.spaces) == 2:
            for name in MEASURES:
                more = (wide[name]["transcoders"] - wide[name]["neurons"]).dropna().to_numpy(dtype=float)
                rows.append({"measure": name} | mean_interval(more, self.config.seed).named("difference"))
        columns = ["measure", "difference", "difference_low", "difference_high"]
        step.table("differences", pd.DataFrame(rows, columns=columns))

    def _means(self, graphs: pd.DataFrame, *by: str) -> pd.DataFrame:
        rows = []
        for values, own in groups(graphs, *by):
            row: dict[str, object] = dict(zip(by, values, strict=True)) | {"prompts": len(own)}
            for name in MEASURES:
                found = own[name].dropna().to_numpy(dtype=float)
                row |= mean_interval(found, self.config.seed).named(name)
            rows.append(row)
        return pd.DataFrame(rows)

    def _spaces(self) -> Spaces:
        """The features of each kind, at most one space for a layer."""
        found: dict[str, Sequence[ReadableFeatures]] = {}
        for kind in self.config.spaces:
            if kind == "neurons":
                found[kind] = [MlpNeurons(self.subject, layer) for layer in range(self.subject.n_layers)]
            else:
                folder = self.run.folder / "saes"
                names = [plan.name for plan in self.config.plans()]
                found[kind] = self.published or [load(self.subject, folder / n, name=n) for n in names]
        return found
