"""The steps of `function_vector`."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.track.files import read_safetensors, write_safetensors
from interp.track.run import Run
from interp.track.step import Step
from interp.vectors.conditions import Condition
from interp.vectors.control import best_random
from interp.vectors.file import load_vectors, save_vectors
from interp.vectors.function import (
    Head,
    function_vector,
    indirect_effects,
    layer_average,
    mean_head_outputs,
    set_heads,
    top_heads,
)
from interp.vectors.sweep import KEYS, Setting, best_layer, rates, sweep
from interp.vectors.tasks import Task, task_prompts
from interp.vectors.vector import Vector

from ..common.tasks import TasksJob
from .config import Config
from .page import FunctionPage

VECTOR, AVERAGE = "function vector", "layer average"
ZERO_SHOT, SHUFFLED = "zero-shot", "shuffled"


class Job(TasksJob[Config]):
    """Finds the heads of each task, chooses a layer for their sum, and reports on held-out queries."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.subject.writers()  # fails early if the outputs of heads cannot be summed

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        found = self.run.step("heads", self.heads)
        tensors = read_safetensors(found / "heads.safetensors")[0]
        self.means = {task.name: tensors[f"means/{task.name}"] for task in self.tasks}
        self.effects = {task.name: tensors[f"effects/{task.name}"] for task in self.tasks}
        added = self.run.step("layers", self.layers)
        self.publish(added / "vectors", "vectors")
        self.run.step("held_out", self.held_out)
        self.write_page(lambda: FunctionPage(self.run, self.config, self.subject, len(self.tasks)))

    def heads(self, step: Step) -> None:
        """Measures heads' mean outputs on prompts that show a task, and their effects on misleading ones."""
        config, rows = self.config, []
        tensors: dict[str, Tensor] = {}
        with step.progress.task("heads", total=len(self.tasks), unit="tasks") as advance:
            for task in self.tasks:
                prompts = self._shown(task)
                means = mean_head_outputs(self.subject, prompts)
                misled = config.corrupted == SHUFFLED
                corrupted = task.questions(
                    self.subject,
                    task.drawn(config.effect_prompts, config.seed + 1),
                    config.shots if misled else 0,
                    shuffled=misled,
                    seed=config.seed,
                )
                effects = indirect_effects(self.subject, corrupted, means)
                tensors |= {f"means/{task.name}": means, f"effects/{task.name}": effects}
                step.metric(f"shown/{task.name}", len(prompts))
                for layer, head in np.ndindex(*effects.shape):
                    rows.append([task.name, layer, head, float(effects[layer, head])])
                advance(1)
        step.table("heads", pd.DataFrame(rows, columns=["task", "layer", "head", "effect"]))
        write_safetensors(step.folder / "heads.safetensors", tensors)

    def layers(self, step: Step) -> None:
        """Adds the vector, the layer average or a random one after every layer, on queries to choose by."""
        rows: list[pd.DataFrame] = []
        for task in self.tasks:
            vectors, averages = self._vectors(task), self._averages(task)
            settings = self._settings(vectors, averages)
            by_asked = {}
            for asked, misled in ((ZERO_SHOT, False), (SHUFFLED, True)):
                shots = self.config.shots if misled else 0
                questions = task.questions(
                    self.subject, task.choose, shots, shuffled=misled, seed=self.config.seed
                )
                frame = sweep(self.subject, questions, settings, step.progress, f"{task.name}, {asked}")
                by_asked[asked] = frame.assign(task=task.name, asked=asked)
            rows += by_asked.values()
            own = by_asked[ZERO_SHOT]
            layer, strength = best_layer(own[own["method"] == VECTOR])
            chosen = (strength * vectors[layer]).named(task.name)
            save_vectors(step.folder / "vectors" / f"{task.name}.safetensors", [chosen])
            layer, _ = best_layer(own[own["method"] == AVERAGE])
            save_vectors(step.folder / f"{task.name}-average.safetensors", [averages[layer]])
        frame = pd.concat(rows, ignore_index=True)
        step.table("profile", rates(frame, ["task", "asked", *KEYS], self.config.seed))

    def _settings(self, vectors: Sequence[Vector], averages: Sequence[Vector]) -> list[Setting]:
        nulls = self.control.like(vectors, 0)
        found = []
        for name, added, strengths in (
            (VECTOR, vectors, self.config.strengths),
            (f"{VECTOR}, random", nulls, self.config.strengths),
            (AVERAGE, averages, (1.0,)),
        ):
            for layer, vector in enumerate(added):
                for strength in strengths:
                    edit = vector.intervention(self.subject, strength)
                    found.append(Setting(name, f"layer {layer}", layer, strength, (edit,)))
        return found

    def conditions(self, task: Task, other: Task) -> Iterator[Condition]:
        """Yields the vectors at the chosen layers, prompts, and controls."""
        subject, config = self.subject, self.config
        vector, wrong = self._saved(f"vectors/{task.name}"), self._saved(f"vectors/{other.name}")
        average = self._saved(f"{task.name}-average")
        plain = task.questions(subject, task.report)
        misled = task.questions(subject, task.report, config.shots, shuffled=True, seed=config.seed)
        prompted = task.questions(subject, task.report, config.shots, seed=config.seed)
        yield Condition("unchanged", plain)
        yield Condition("prompted", prompted)
        yield Condition("shuffled", misled)
        yield Condition(VECTOR, plain, [vector.intervention(subject)])
        yield Condition("shuffled, function vector", misled, [vector.intervention(subject)])
        yield Condition(AVERAGE, plain, [average.intervention(subject)])
        if len(self.tasks) > 1:
            yield Condition("wrong task's vector", plain, [wrong.intervention(subject)])
        means, heads = self.means[task.name], self._heads(task)
        yield Condition("heads set", plain, set_heads(subject, heads, means))
        rng = np.random.default_rng(config.seed)
        free = [head for head in np.ndindex(subject.n_layers, subject.n_heads) if head not in heads]
        to_choose = task.questions(subject, task.choose, seed=config.seed)
        nulls = best_random(subject, to_choose, self._vectors(task), config.strengths, self.control)
        for draw, null in enumerate(nulls):
            yield Condition(f"{VECTOR}, random", plain, [null.intervention(subject)], draw)
            count = min(len(heads), len(free))
            if count:
                chosen = [free[place] for place in rng.choice(len(free), count, replace=False)]
                yield Condition("heads set, random", plain, set_heads(subject, chosen, means), draw)

    def _saved(self, name: str) -> Vector:
        return load_vectors(self.run.folder / "steps" / "layers" / f"{name}.safetensors", self.subject)[0]

    def _heads(self, task: Task) -> list[Head]:
        ranked: Float[Tensor, "layer head"] = self.effects[task.name]
        if self.config.universal:
            ranked = torch.stack(list(self.effects.values())).mean(0)
        return top_heads(ranked, self.config.heads)

    def _vectors(self, task: Task) -> list[Vector]:
        heads, means = self._heads(task), self.means[task.name]
        return [
            function_vector(self.subject, heads, means, task.name, layer)
            for layer in range(self.subject.n_layers)
        ]

    def _averages(self, task: Task) -> list[Vector]:
        return layer_average(self.subject, self._shown(task), task.name)

    def _shown(self, task: Task) -> list[list[int]]:
        config = self.config
        return task_prompts(
            self.subject, task, config.prompts, config.shots, only_right=config.only_right, seed=config.seed
        )
