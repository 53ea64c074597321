"""The steps of every experiment that steers behaviours: sweep, choose on one half, report on the other."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from interp.corpus.questions import Question, notes_on_questions
from interp.errors import UserError
from interp.parquet import read_parquet
from interp.subject.forward import Intervention
from interp.track.files import write_parquet
from interp.track.records import redo
from interp.track.run import Run
from interp.track.step import Step
from interp.vectors.conditions import behaviour_results, written_after
from interp.vectors.contrast import Contrast, read_contrast, task_contrast
from interp.vectors.file import save_vectors
from interp.vectors.methods import FunctionMethod, Method, pairs_needed
from interp.vectors.sweep import KEYS, SEVERAL, Setting, answered, by_method, choose, null_of, rates, sweep
from interp.vectors.truthful import TruthfulEdit
from interp.vectors.truthful_file import save_edit
from interp.vectors.world import world_contrast

from ..common.vectors.job import BehaviourJob
from .config import Config, slug
from .page import SteeringVectorsPage

NONE, PROMPTED, RANDOM = "unchanged", "prompted", "random"
"""Conditions other than a method; a method's null is its name and `RANDOM`."""
ENOUGH = 0.9  # share of what all examples reach


class Job(BehaviourJob[Config]):
    """Sweeps every method on every behaviour, chooses on one half, and reports on the other."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.contrasts = [self._contrast(name) for name in config.behaviours]
        if any(isinstance(method, FunctionMethod) for method in config.methods):
            self.subject.writers()  # fails early if the outputs of heads cannot be summed
        for contrast in self.contrasts:
            least = max(method.least_pairs for method in config.methods)
            if len(contrast.pairs) < least:
                raise UserError(
                    f"{len(contrast.pairs)} pairs are too few for these methods",
                    f"behaviour {contrast.name}",
                    f"give {least} or more",
                )
        run.tell(*notes_on_questions(self.others))

    def steps(self) -> None:
        """Runs a step for each behaviour, then the summary and the page; skips those that have finished."""
        for contrast in self.contrasts:
            done = self.run.step(f"behaviour-{slug(contrast.name)}", partial(self.behaviour, contrast))
            self.publish(done / "vectors", "vectors")
        self.run.step("summary", self.summary)
        self.write_page(lambda: SteeringVectorsPage(self.run, self.config, self.subject))

    def behaviour(self, contrast: Contrast, step: Step) -> None:
        """Sweeps every method on one behaviour, chooses on one half, and reports on the other."""
        halves = [(contrast.choose, contrast.report)]
        if self.config.two_fold:
            halves.append((contrast.report, contrast.choose))
        name, new_tokens = slug(contrast.name), self.config.new_tokens
        profile, reported, costs, texts = [], [], [], []
        chosen: list[dict[str, object]] = []
        for fold, (to_choose, to_report) in enumerate(halves):
            own = replace(contrast, choose=to_choose, report=to_report)
            reported.append(self._asked(to_report, (), condition=NONE, fold=fold))
            if contrast.prompted and fold == 0:
                reported.append(self._asked(contrast.prompted, (), condition=PROMPTED, fold=fold))
            for method in self.config.methods:
                began = time.monotonic()
                settings = method.settings(self.subject, own, self.control)
                seconds = time.monotonic() - began
                wanted = {SEVERAL, *(self.config.layers or range(self.subject.n_layers))}
                settings = [setting for setting in settings if setting.layer in wanted]
                for label, offered in by_method(settings).items():
                    frame = sweep(self.subject, to_choose, offered, step.progress, f"{name}: {label}")
                    best = choose(self.subject, offered, frame, self.to_choose_by)
                    nulls = [
                        self._best_null(to_choose, null_of(offered, draw), step)
                        for draw in range(self.config.draws)
                    ]
                    profile.append(rates(frame, KEYS, self.config.seed).assign(fold=fold))
                    chosen.append({**best.names, "fold": fold, "seconds": seconds, "settings": len(offered)})
                    chosen[-1]["examples"] = self._examples(method, own, best, frame)
                    rows, cost = self._reported(best, nulls, to_report, fold)
                    reported += rows
                    costs += cost
                    texts.append(
                        written_after(self.subject, to_report, best.edits, new_tokens).assign(
                            condition=label, fold=fold
                        )
                    )
                    if fold == 0:
                        self._keep(step.folder / "vectors" / f"{name}-{_file(label)}.safetensors", best)
            texts.append(
                written_after(self.subject, to_report, (), new_tokens).assign(condition=NONE, fold=fold)
            )
        found = {"profile": profile, "outcomes": reported, "costs": costs, "texts": texts}
        for table, rows in (*found.items(), ("chosen", [pd.DataFrame(chosen)])):
            frame = pd.concat(rows, ignore_index=True).assign(behaviour=contrast.name)
            write_parquet(step.folder / f"{table}.parquet", frame)

    def _best_null(self, questions: Sequence[Question], offered: Sequence[Setting], step: Step) -> Setting:
        """Returns the best setting of a draw of the null, chosen as the method's own is."""
        frame = sweep(self.subject, questions, offered, step.progress, f"{offered[0].method}, {RANDOM}")
        return choose(self.subject, offered, frame, self.to_choose_by)

    def _reported(
        self, setting: Setting, nulls: Sequence[Setting], questions: Sequence[Question], fold: int
    ) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
        """Measures the chosen setting and its nulls on the reported questions, and their side effects."""
        rows, costs = [], []
        conditions = [(setting.method, setting.edits)]
        conditions += [(f"{setting.method}, {RANDOM}", null.edits) for null in nulls]
        for draw, (condition, edits) in enumerate(conditions):
            rows.append(self._asked(questions, edits, condition=condition, fold=fold, draw=draw))
            costs.append(self.costs(edits, condition=condition, fold=fold, draw=draw))
        return rows, costs

    def _keep(self, file: Path, setting: Setting) -> None:
        """Saves a setting so that `interp generate --vector` applies it at a strength of 1."""
        (first, *_) = setting.edits
        if setting.vectors:
            save_vectors(file, setting.vectors)
        elif isinstance(first, TruthfulEdit):
            save_edit(file, first, self.subject.name)

    def _asked(
        self, questions: Sequence[Question], edits: Sequence[Intervention], **names: str | float | int
    ) -> pd.DataFrame:
        return answered(self.subject, questions, edits, **{"draw": 0, **names})

    def _examples(self, method: Method, contrast: Contrast, best: Setting, frame: pd.DataFrame) -> int | None:
        """Returns the fewest of the tried numbers of pairs that do nearly as well at the chosen setting."""
        own = (frame[list(KEYS)] == pd.Series(best.names)).all(axis=1)
        full, config = float(frame.loc[own, "right"].mean()), self.config
        if not full or not config.examples:
            return None
        return pairs_needed(method, self.subject, contrast, best, ENOUGH * full, config.examples, config.seed)

    def summary(self, step: Step) -> None:
        """Joins the behaviours' tables, and sets means over behaviours as metrics."""
        steps = self.run.folder / "steps"
        folders = [steps / f"behaviour-{slug(contrast.name)}" for contrast in self.contrasts]
        tables = {
            name: pd.concat(
                [read_parquet(f / f"{name}.parquet", redo(f)) for f in folders], ignore_index=True
            )
            for name in ("profile", "outcomes", "costs", "texts", "chosen")
        }
        for name, frame in tables.items():
            step.table(name, frame)
        results = behaviour_results(tables["outcomes"], tables["costs"], tables["texts"], self.config.seed)
        step.table("results", results)
        means = results.groupby("condition", sort=False)["right"].mean()
        for condition, share in means.items():
            step.metric(f"right/{_file(str(condition))}", float(share), headline=True)

    def _contrast(self, name: str) -> Contrast:
        if name.endswith(".jsonl"):
            return read_contrast(Path(name), self.subject, self.config.seed)
        if name.endswith(".json"):
            (task,) = self.config.task_source(name).open(self.subject, self.config.seed)
            self.run.tell(*task.notes)
            return task_contrast(task, self.subject, self.config.seed)
        return world_contrast(name, self.subject, self.config.seed)


def _file(label: str) -> str:
    return label.replace(", ", "_").replace(" ", "_").replace("-", "_")
