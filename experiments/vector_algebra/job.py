"""The steps of `vector_algebra`."""

from collections.abc import Iterator, Mapping

import pandas as pd

from interp.track.run import Run
from interp.track.step import Step
from interp.vectors.conditions import Condition
from interp.vectors.control import best_random
from interp.vectors.file import load_vectors, save_vectors
from interp.vectors.sweep import KEYS, Setting, by_method, choose, rates, sweep
from interp.vectors.task import added_task_vectors, task_vectors
from interp.vectors.tasks import Task
from interp.vectors.vector import Vector

from ..common.tasks import write_compared
from ..common.vectors.job import VectorJob
from .config import Composition, Config, Term
from .page import AlgebraPage

SUM = "sum"


class Job(VectorJob[Config]):
    """Makes sums of task vectors, chooses layers and strengths, and compares sums with their parts."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.targets = {c.name: self._task(c.target) for c in config.compositions}
        run.tell(*dict.fromkeys(note for task in self.targets.values() for note in task.notes))

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        found = self.run.step("layers", self.layers)
        self.publish(found / "vectors", "vectors")
        self.run.step("held_out", self.held_out)
        self.write_page(lambda: AlgebraPage(self.run, self.config, self.subject))

    def layers(self, step: Step) -> None:
        """Adds every sum and every part after every layer, on the queries used to choose."""
        rows, cosines = [], []
        for place, composition in enumerate(self.config.compositions):
            vectors = self._vectors(composition)
            settings = [
                Setting(name, f"layer {layer}", layer, strength, (edit,), (vector,))
                for name, own in vectors.items()
                for layer, vector in enumerate(own)
                for strength in self.config.strengths
                for edit in [vector.intervention(self.subject, strength)]
            ]
            target = self.targets[composition.name]
            questions = target.questions(self.subject, target.choose)
            frame = sweep(self.subject, questions, settings, step.progress, composition.name)
            rows.append(frame.assign(task=composition.name))
            for number, (name, offered) in enumerate(by_method(settings).items()):
                best = choose(self.subject, offered, frame[frame["method"] == name], self.to_choose_by)
                (vector,) = best.vectors
                kept = (best.strength * vector).named(f"{composition.name}: {name}")
                save_vectors(step.folder / "vectors" / f"{place}-{number}.safetensors", [kept])
                if name == SUM:
                    layer = best.layer
            for name, own in vectors.items():
                if name != SUM and own[layer].norm and vectors[SUM][layer].norm:
                    cosine = own[layer].cosine(vectors[SUM][layer])
                    cosines.append([composition.name, name, layer, own[layer].norm, cosine])
        frame = pd.concat(rows, ignore_index=True)
        step.table("profile", rates(frame, ["task", *KEYS], self.config.seed))
        columns = ["composition", "part", "layer", "norm", "cosine"]
        step.table("cosines", pd.DataFrame(cosines, columns=columns))

    def _vectors(self, composition: Composition) -> Mapping[str, list[Vector]]:
        """Returns the sum and each part, for every layer."""
        parts = {part.title: self._of(part) for part in composition.parts}
        sums = list(next(iter(parts.values())))
        for own in list(parts.values())[1:]:
            sums = [total + vector for total, vector in zip(sums, own, strict=True)]
        return {SUM: sums, **(parts if len(parts) > 1 else {})}

    def _of(self, part: Term) -> list[Vector]:
        task = self._task(part.task)
        asked = task.drawn(self.config.prompts, self.config.seed)
        plain = [question.prompt for question in task.questions(self.subject, asked)]
        if part.shots:
            shown = task.questions(self.subject, asked, part.shots, seed=self.config.seed)
            prompts = [question.prompt for question in shown]
            vectors = added_task_vectors(self.subject, prompts, plain, task.name)
        else:
            vectors = [vector.added() for vector in task_vectors(self.subject, plain, task.name)]
        return [part.weight * vector for vector in vectors]

    def held_out(self, step: Step) -> None:
        """Tests sums and parts at their chosen layers and strengths, on the reported queries."""
        conditions = [
            (composition.name, self._conditions(place, composition))
            for place, composition in enumerate(self.config.compositions)
        ]
        write_compared(step, self.subject, self.neutral, conditions, "compositions", self.config.seed)

    def _conditions(self, place: int, composition: Composition) -> Iterator[Condition]:
        subject, config, target = self.subject, self.config, self.targets[composition.name]
        asked = target.questions(subject, target.report)
        yield Condition("unchanged", asked)
        for number in range(len(composition.parts) + 1 if len(composition.parts) > 1 else 1):
            file = self.run.folder / "steps" / "layers" / "vectors" / f"{place}-{number}.safetensors"
            (vector,) = load_vectors(file, subject)
            yield Condition(f"part {number}" if number else SUM, asked, [vector.intervention(subject)])
            if number == 0:
                to_choose = target.questions(subject, target.choose)
                sums = self._vectors(composition)[SUM]
                nulls = best_random(subject, to_choose, sums, config.strengths, self.control)
                for draw, null in enumerate(nulls):
                    yield Condition(f"{SUM}, random", asked, [null.intervention(subject)], draw)

    def _task(self, name: str) -> Task:
        (task,) = self.config.task_source(name).open(self.subject, self.config.seed)
        return task
