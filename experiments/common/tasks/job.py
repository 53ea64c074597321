"""What the experiments on tasks by example share: prompts of each part, and conditions side by side."""

from collections.abc import Sequence
from random import Random
from typing import Protocol

import numpy as np
import pandas as pd

from interp.causal.outcome import ask
from interp.causal.side_effects import Neutral, side_effects
from interp.corpus.questions import Question
from interp.errors import UserError
from interp.statistics.estimate import mean_interval, share_of_items
from interp.subject import Subject
from interp.subject.forward import Intervention
from interp.track.step import Step
from interp.vectors.control import random_like
from interp.vectors.sweep import Setting, answered, sweep
from interp.vectors.tasks import Example, Task
from interp.vectors.vector import Vector

ALL_TASKS = "mean over tasks"


def drawn(task: Task, count: int, seed: int) -> list[Example]:
    """Examples of the part that vectors are made of, drawn with replacement."""
    return Random(f"drawn {task.name} {seed}").choices(task.extract, k=count)


class ShowingConfig(Protocol):
    """What a config says of prompts that show a task."""

    seed: int
    shots: int
    prompts: int
    only_right: bool


def shown(subject: Subject, task: Task, config: ShowingConfig) -> list[list[int]]:
    """Prompts with examples, what means are taken over; perhaps only those that the subject gets right.

    Raises:
        UserError: there are fewer than two of these.
    """
    asked = drawn(task, config.prompts, config.seed)
    prompts = task.questions(subject, asked, config.shots, seed=config.seed)
    if config.only_right:
        right = ask(subject, prompts).right
        kept = [prompt for prompt, is_right in zip(prompts, right, strict=True) if is_right]
        if len(kept) < 2:
            raise UserError(
                f"{subject.name} gets {len(kept)} of {len(prompts)} prompts right",
                f"task {task.name}",
                "show more examples, leave the task out, or set only_right: false",
            )
        prompts = kept
    return [list(prompt.prompt) for prompt in prompts]


def best_layer(frame: pd.DataFrame) -> tuple[int, float]:
    """The layer and strength with the most right answers; of equal ones the first."""
    means = frame.groupby(["layer", "strength"], sort=True)["right"].mean()
    layer, strength = means.idxmax()
    return int(layer), float(strength)


def random_nulls(
    subject: Subject,
    questions: Sequence[Question],
    vectors: Sequence[Vector],
    strengths: Sequence[float],
    seed: int,
    draws: int,
) -> list[Vector]:
    """Random vectors as long as those of every layer, each draw at the layer and strength that suit it best.

    The same search as for a method's own: by the right answers to `questions`, on which nothing is reported.
    """
    found = []
    for draw in range(draws):
        drawn_anew = [random_like(vector, seed + draw) for vector in vectors]
        settings = [
            Setting("random", f"layer {layer}", layer, strength, (null.intervention(subject, strength),))
            for layer, null in enumerate(drawn_anew)
            for strength in strengths
        ]
        layer, strength = best_layer(sweep(subject, questions, settings))
        found.append(strength * drawn_anew[layer])
    return found


class Reported:
    """Rows of one task: every condition on the reported questions, and what it costs on neutral text."""

    def __init__(self, subject: Subject, neutral: Neutral, task: str) -> None:
        self.subject, self.neutral, self.task = subject, neutral, task
        self.outcomes: list[pd.DataFrame] = []
        self.costs: list[pd.DataFrame] = []

    def add(
        self, condition: str, questions: Sequence[Question], edits: Sequence[Intervention] = (), draw: int = 0
    ) -> None:
        """One condition; its costs only if something is changed."""
        names = {"task": self.task, "condition": condition, "draw": draw}
        self.outcomes.append(answered(self.subject, questions, edits, **names))
        if edits:
            self.costs.append(side_effects(self.subject, self.neutral, edits, **names))


def write_results(step: Step, outcomes: pd.DataFrame, costs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Tables `outcomes`, `costs` and `results`, and a metric for each condition.

    `results` has a row for each task and condition, and for the mean over tasks: `right` with an interval
    over questions (`share_of_items`), or a bootstrap interval over tasks for the mean; `kl`, `extra`,
    `questions`.
    """
    keys = ["task", "condition"]
    rows = []
    for (task, condition), part in outcomes.groupby(keys, sort=False):
        asked = part["question"].to_numpy()
        share = share_of_items(part["right"].to_numpy(), asked, seed)
        rows.append([task, condition, *share, len(np.unique(asked)), int((~part["finite"]).sum())])
    columns = [*keys, "right", "right_low", "right_high", "questions", "overflowed"]
    results = pd.DataFrame(rows, columns=columns)
    means = costs.groupby(keys, sort=False)[["kl", "extra"]].mean().reset_index()
    results = results.merge(means, on=keys, how="left")
    together = []
    for condition, part in results.groupby("condition", sort=False):
        ends = mean_interval(part["right"].to_numpy(dtype=float), seed)
        own = part[["kl", "extra"]].mean()
        counted = int(part["questions"].sum()), int(part["overflowed"].sum())
        together.append([ALL_TASKS, condition, *ends, *counted, own["kl"], own["extra"]])
        step.metric(f"right/{str(condition).replace(', ', '_').replace(' ', '_')}", ends[0], headline=True)
    results = pd.concat([results, pd.DataFrame(together, columns=results.columns)], ignore_index=True)
    for name, frame in (("outcomes", outcomes), ("costs", costs), ("results", results)):
        step.table(name, frame)
    return results
