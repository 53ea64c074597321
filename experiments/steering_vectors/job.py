"""The steps of every experiment that steers behaviours: sweep, choose on one half, report on the other."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.common.vectors.job import VectorJob
from experiments.steering_vectors.config import Config, slug
from experiments.steering_vectors.page import TrialPage
from interp.causal.side_effects import side_effects
from interp.causal.steering.texts import cross_entropy
from interp.corpus.questions import Question, begins_with, notes_on_questions, open_questions
from interp.errors import UserError
from interp.parquet import read_parquet
from interp.statistics.estimate import mean_interval
from interp.subject.forward import Intervention
from interp.track.files import write_parquet
from interp.track.records import redo
from interp.track.run import Run
from interp.track.step import Step
from interp.vectors.contrast import Contrast, read_contrast
from interp.vectors.file import save_vectors
from interp.vectors.methods import Function, Method
from interp.vectors.sweep import KEYS, Setting, answered, by_method, choose, null_of, rates, sweep
from interp.vectors.truthful import TruthfulEdit
from interp.vectors.truthful_file import save_edit
from interp.vectors.world import world_contrast

NONE, PROMPTED, RANDOM = "unchanged", "prompted", "random"
"""Conditions other than a method; a method's null is its name and `RANDOM`."""
ENOUGH = 0.9  # of what all examples reach


class Job(VectorJob[Config]):
    """The steps, and what they share."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.contrasts = [self._contrast(name) for name in config.behaviours]
        if any(isinstance(method, Function) for method in config.methods):
            self.subject.writers()  # says at once if heads' outputs cannot be summed up
        for contrast in self.contrasts:
            least = max(method.least_pairs for method in config.methods)
            if len(contrast.pairs) < least:
                raise UserError(
                    f"{len(contrast.pairs)} pairs are too few for these methods",
                    f"behaviour {contrast.name}",
                    f"give {least} or more",
                )
        asked = config.others
        self.others = [] if asked is None else open_questions(asked, self.subject, config.seed)
        run.tell(*notes_on_questions(self.others))

    def steps(self) -> None:
        """A step for each behaviour, then the summary and the page; those that have finished are skipped."""
        for contrast in self.contrasts:
            done = self.run.step(f"behaviour-{slug(contrast.name)}", partial(self.behaviour, contrast))
            self.publish(done / "vectors", "vectors")
        self.run.step("summary", self.summary)
        self.write_page(lambda: TrialPage(self.run, self.subject, self.config))

    def behaviour(self, contrast: Contrast, step: Step) -> None:
        """Every method on one behaviour: swept and chosen on one half, reported on the other."""
        halves = [(contrast.choose, contrast.report)]
        if self.config.two_fold:
            halves.append((contrast.report, contrast.choose))
        name = slug(contrast.name)
        profile, chosen, reported, costs, texts = [], [], [], [], []
        for fold, (to_choose, to_report) in enumerate(halves):
            own = replace(contrast, choose=to_choose, report=to_report)
            reported.append(self._asked(to_report, (), condition=NONE, fold=fold))
            if contrast.prompted and fold == 0:
                reported.append(self._asked(contrast.prompted, (), condition=PROMPTED, fold=fold))
            for method in self.config.methods:
                began = time.monotonic()
                settings = method.settings(self.subject, own, self.config.seed, self.config.draws)
                seconds = time.monotonic() - began
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
                    texts.append(self._written(to_report, best.edits).assign(condition=label, fold=fold))
                    if fold == 0:
                        self._keep(step.folder / "vectors" / f"{name}-{_file(label)}.safetensors", best)
            texts.append(self._written(to_report, ()).assign(condition=NONE, fold=fold))
        found = {"profile": profile, "outcomes": reported, "costs": costs, "texts": texts}
        for table, rows in (*found.items(), ("chosen", [pd.DataFrame(chosen)])):
            frame = pd.concat(rows, ignore_index=True).assign(behaviour=contrast.name)
            write_parquet(step.folder / f"{table}.parquet", frame)

    def _best_null(self, questions: Sequence[Question], offered: Sequence[Setting], step: Step) -> Setting:
        """The setting that a draw of the null does best under: found as a method's own is."""
        frame = sweep(self.subject, questions, offered, step.progress, f"{offered[0].method}, {RANDOM}")
        return choose(self.subject, offered, frame, self.to_choose_by)

    def _reported(
        self, setting: Setting, nulls: Sequence[Setting], questions: Sequence[Question], fold: int
    ) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
        """The chosen setting and its nulls on the reported questions, and what they cost elsewhere."""
        rows, costs = [], []
        conditions = [(setting.method, setting.edits)]
        conditions += [(f"{setting.method}, {RANDOM}", null.edits) for null in nulls]
        for draw, (condition, edits) in enumerate(conditions):
            rows.append(self._asked(questions, edits, condition=condition, fold=fold, draw=draw))
            cost = side_effects(self.subject, self.neutral, edits, condition=condition, fold=fold, draw=draw)
            if self.others:
                frame = answered(self.subject, self.others, edits)
                cost["others"] = float(frame["right"].mean())
            costs.append(cost)
        return rows, costs

    def _keep(self, file: Path, setting: Setting) -> None:
        """Writes what `interp generate --vector` does at a strength of 1."""
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
        """The fewest pairs of those tried with which the chosen setting does nearly as well."""
        own = (frame[list(KEYS)] == pd.Series(best.names)).all(axis=1)
        full = float(frame.loc[own, "right"].mean())
        if not full or not self.config.examples:
            return None
        for count in sorted(self.config.examples):
            if method.least_pairs <= count < len(contrast.pairs):
                fewer = replace(contrast, pairs=contrast.pairs[:count])
                found = method.settings(self.subject, fewer, self.config.seed, 0)
                same = next((setting for setting in found if setting.names == best.names), None)
                if same is not None:
                    share = answered(self.subject, contrast.choose, same.edits)["right"].mean()
                    if share >= ENOUGH * full:
                        return count
        return len(contrast.pairs)

    def _written(self, questions: Sequence[Question], edits: Sequence[Intervention]) -> pd.DataFrame:
        """What is written after each prompt, greedily, and how it reads to the unchanged subject.

        `shown` says whether an answer comes before any foil, and at all.
        """
        prompts = [question.prompt for question in questions]
        tokens, mask = self.subject.pad(prompts)
        with self.subject.intervene(*edits):
            texts = self.subject.generate_ids(tokens, mask, self.config.new_tokens)
        return pd.DataFrame(
            {
                "prompt": [self.subject.decode(prompt) for prompt in prompts],
                "text": [self.subject.decode(text) for text in texts],
                "shown": [_shown(question, text) for question, text in zip(questions, texts, strict=True)],
                "cross_entropy": cross_entropy(self.subject, prompts, texts),
            }
        )

    def summary(self, step: Step) -> None:
        """The behaviours' tables as one each, and what they come to."""
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
        results = summarised(tables["outcomes"], tables["costs"], tables["texts"], self.config.seed)
        step.table("results", results)
        means = results.groupby("condition", sort=False)["right"].mean()
        for condition, share in means.items():
            step.metric(f"right/{_file(str(condition))}", float(share), headline=True)

    def _contrast(self, name: str) -> Contrast:
        if name.endswith(".jsonl"):
            return read_contrast(Path(name), self.subject, self.config.seed)
        return world_contrast(name, self.subject, self.config.seed)


def summarised(outcomes: pd.DataFrame, costs: pd.DataFrame, texts: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A row for each behaviour and condition: what came out, and what it cost elsewhere.

    Of `rates`, in which a question under several draws of a random vector counts once; `kl` and `extra` in
    nats with intervals over texts, `others` (share right elsewhere), `shown` and `nats` of what is
    written. None where a condition has no such figure.
    """
    keys = ["behaviour", "condition"]
    found = rates(outcomes, keys, seed)
    for measure in ("kl", "extra"):
        means = costs.groupby([*keys, "text"], sort=False)[measure].mean().reset_index()
        found = found.merge(interval_of(means, keys, measure, seed), on=keys, how="left")
    if "others" in costs:
        found = found.merge(costs.groupby(keys)["others"].mean().reset_index(), on=keys, how="left")
    written = texts.groupby(keys).agg(shown=("shown", "mean"), nats=("cross_entropy", "mean")).reset_index()
    return found.merge(written, on=keys, how="left")


def interval_of(frame: pd.DataFrame, keys: Sequence[str], measure: str, seed: int) -> pd.DataFrame:
    """A column's mean for each value of the keys, with the ends of its bootstrap interval."""
    rows = []
    for values, part in frame.groupby(list(keys), sort=False):
        ends = mean_interval(part[measure].dropna().to_numpy(dtype=float), seed)
        names: Mapping[str, object] = dict(zip(keys, values, strict=True))
        rows.append({**names, **dict(zip((measure, f"{measure}_low", f"{measure}_high"), ends, strict=True))})
    return pd.DataFrame(rows)


def _shown(question: Question, text: Sequence[int]) -> bool:
    """Whether an answer stands in a text, and no foil before it."""
    for start in range(len(text)):
        if begins_with(text[start:], question.answers):
            return True
        if begins_with(text[start:], question.foils):
            return False
    return False


def _file(label: str) -> str:
    return label.replace(", ", "_").replace(" ", "_").replace("-", "_")
