"""The steps of `task_vector`."""

from collections.abc import Iterator
from itertools import permutations

import pandas as pd

from interp.causal.outcome import ask
from interp.corpus.questions import Question
from interp.track.step import Step
from interp.vectors.conditions import Condition
from interp.vectors.control import best_random
from interp.vectors.file import load_vectors, save_vectors
from interp.vectors.sweep import KEYS, Setting, best_layer, rates, sweep
from interp.vectors.task import added_task_vectors, conflicting, task_vectors
from interp.vectors.tasks import Example, Task, task_prompts
from interp.vectors.vector import Vector

from ..common.tasks import TasksJob
from .config import Config
from .page import TaskPage


class Job(TasksJob[Config]):
    """Makes task vectors, chooses their layers, reports on held-out queries, and tests conflicts."""

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        found = self.run.step("layers", self.layers)
        self.publish(found / "vectors", "vectors")
        self.run.step("held_out", self.held_out)
        self.run.step("conflict", self.conflict)
        self.write_page(lambda: TaskPage(self.run, self.config, self.subject, len(self.tasks)))

    def layers(self, step: Step) -> None:
        """Replaces and adds every layer's vector, and random ones, on queries used to choose layers."""
        rows = []
        for task in self.tasks:
            vectors = self._vectors(task)
            settings = []
            for method, own in vectors.items():
                for vector, null in zip(own, self.control.like(own, 0), strict=True):
                    for name, used in ((method, vector), (f"{method}, random", null)):
                        layer, edit = used.site.layer, used.intervention(self.subject)
                        settings.append(Setting(name, f"layer {layer}", layer, 1, (edit,)))
            questions = task.questions(self.subject, task.choose)
            frame = sweep(self.subject, questions, settings, step.progress, task.name)
            rows.append(frame.assign(task=task.name))
            for method, own in vectors.items():
                layer, _ = best_layer(frame[frame["method"] == method])
                save_vectors(step.folder / "vectors" / f"{task.name}-{method}.safetensors", [own[layer]])
                step.metric(f"layer/{method}/{task.name}", layer)
        step.table("profile", rates(pd.concat(rows, ignore_index=True), ["task", *KEYS], self.config.seed))

    def _vectors(self, task: Task) -> dict[str, list[Vector]]:
        config = self.config
        prompts = task_prompts(
            self.subject, task, config.prompts, config.shots, only_right=config.only_right, seed=config.seed
        )
        plain = task.questions(self.subject, task.drawn(config.prompts, config.seed))
        without = [question.prompt for question in plain]
        return {
            "replaced": task_vectors(self.subject, prompts, task.name),
            "added": added_task_vectors(self.subject, prompts, without, task.name),
        }

    def conditions(self, task: Task, other: Task) -> Iterator[Condition]:
        """Yields the vectors at the chosen layers, prompts, and controls."""
        subject, shots, seed = self.subject, self.config.shots, self.config.seed
        plain = task.questions(subject, task.report)
        yield Condition("unchanged", plain)
        yield Condition("prompted", task.questions(subject, task.report, shots, seed=seed))
        to_choose = task.questions(subject, task.choose)
        for method, own in self._vectors(task).items():
            yield Condition(method, plain, [self._chosen(task, method).intervention(subject)])
            nulls = best_random(subject, to_choose, own, (1.0,), self.control)
            for draw, null in enumerate(nulls):
                yield Condition(f"{method}, random", plain, [null.intervention(subject)], draw)
            if len(self.tasks) > 1:
                wrong = self._chosen(other, method).intervention(subject)
                yield Condition(f"{method}, wrong task", plain, [wrong])

    def conflict(self, step: Step) -> None:
        """Patches the vector of one task into prompts of another, on queries that fit both."""
        rows = []
        pairs = list(permutations(self.tasks, 2))
        with step.progress.task("conflicts", total=len(pairs), unit="pairs of tasks") as advance:
            for shown, put_in in pairs:
                asked, other = self._both(shown, put_in)
                questions = conflicting(asked, other)
                if questions:
                    vector = self._chosen(put_in, "replaced")
                    for state, edits in (("before", []), ("after", [vector.intervention(self.subject)])):
                        with self.subject.intervene(*edits):
                            outcome = ask(self.subject, questions)
                        shares = [float(outcome.right.mean()), float(outcome.wrong.mean())]
                        rows.append([shown.name, put_in.name, state, *shares, len(questions)])
                advance(1)
        columns = ["shown", "put_in", "state", "as_shown", "as_put_in", "questions"]
        table = pd.DataFrame(rows, columns=columns)
        step.table("conflict", table)
        for name, part in table.groupby("state", sort=False):
            step.metric(f"conflict/{name!s}/as_shown", float(part["as_shown"].mean()), headline=True)
            step.metric(f"conflict/{name!s}/as_put_in", float(part["as_put_in"].mean()), headline=True)

    def _both(self, shown: Task, put_in: Task) -> tuple[list[Question], list[Question]]:
        """Returns reported queries of both tasks after examples of the first, with each task's answers."""
        answers = dict(put_in.report)
        common: list[Example] = [example for example in shown.report if example[0] in answers]
        asked = shown.questions(self.subject, common, self.config.shots, seed=self.config.seed)
        other = put_in.questions(self.subject, [(question, answers[question]) for question, _ in common])
        return asked, other

    def _chosen(self, task: Task, method: str) -> Vector:
        folder = self.run.folder / "steps" / "layers" / "vectors"
        return load_vectors(folder / f"{task.name}-{method}.safetensors", self.subject)[0]
