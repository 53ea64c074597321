"""Directions that steer: refusal, tasks by example, and the heads that carry them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments._task_steps import best_layer, drawn, shown
from experiments._world_card.effect import Effect, Figure, Measured
from interp.causal.outcome import ask
from interp.corpus.questions import Question
from interp.subject import Subject
from interp.subject.forward import Intervention
from interp.vectors.control import random_like
from interp.vectors.function import indirect_effects, mean_head_outputs, set_heads, top_heads
from interp.vectors.heads import Head
from interp.vectors.refusal import Candidates, mean_centred_ablation, refusal_candidates
from interp.vectors.requests import WorldRequests, open_requests
from interp.vectors.sweep import Setting, sweep
from interp.vectors.task import added_task_vectors, task_vectors
from interp.vectors.tasks import WorldTasks, open_tasks
from interp.vectors.vector import Vector

STRENGTHS = (1.0, 1.5)
RANDOM = "a random direction"
TASKS = ("antonym", "plural", "past", "capital", "language", "currency", "zorvic", "tamric")
HEAD_TASKS = ("antonym", "plural", "capital", "language", "zorvic")
HEADS, SETS = 4, 5
QUERIES = 50


@dataclass(frozen=True)
class Shown:
    """Prompts that show a task: what means are taken over."""

    seed: int
    shots: int = 6
    prompts: int = 48
    only_right: bool = False


def refusal(subject: Subject, seed: int) -> Measured:
    """The refusal direction of every layer: added, taken out, and held at its harmless mean.

    Layer and strength are chosen on requests of the training set, and reported on requests that training
    never showed.
    """
    found, group = Measured(), "refusal"
    asked = open_requests(WorldRequests(), subject, seed)
    prompts = ([q.prompt for q in part.train] for part in (asked.harmful, asked.harmless))
    candidates = refusal_candidates(subject, *prompts)
    vectors = [candidates.vector(-1, layer) for layer in range(1, subject.n_layers)]
    for how in ("added", "projected out", "mean-centred"):
        kind = asked.harmless if how == "added" else asked.harmful
        best = None
        for strength in STRENGTHS if how == "added" else (1.0,):
            series = f"{how}, {strength:g}x" if how == "added" else how
            for vector in vectors:
                edits = _edits(subject, vector, candidates, how, strength)
                chosen = _right(subject, kind.validation, edits)
                reported = _right(subject, kind.report, edits)
                found.by_layer(group, series, vector.site.layer, reported)
                rank = chosen.value if how == "added" else -chosen.value
                if best is None or rank > best[0]:
                    best = (rank, vector, strength, reported)
        assert best is not None
        _, vector, strength, reported = best
        null = _edits(subject, random_like(vector, seed), candidates, how, strength)
        before = "harmless" if how == "added" else "harmful"
        at = f"layer {vector.site.layer}, {strength:g}x, chosen" if how == "added" else _chosen(vector)
        control = _right(subject, kind.report, null)
        found.effects.append(
            Effect(group, f"{before} requests refused, {how}", at, reported, RANDOM, control)
        )
    for before, kind in (("harmless", asked.harmless), ("harmful", asked.harmful)):
        unchanged = _right(subject, kind.report)
        found.effects.append(Effect(group, f"{before} requests refused", "unchanged", unchanged))
    return found


def _edits(
    subject: Subject, vector: Vector, candidates: Candidates, how: str, strength: float
) -> Sequence[Intervention]:
    if how == "added":
        return [vector.intervention(subject, strength, "last")]
    if how == "projected out":
        return [vector.project_out(subject)]
    return mean_centred_ablation(subject, vector, candidates)


def task_vectors_of(subject: Subject, seed: int) -> Measured:
    """Task vectors added and put in place, at the layer that other queries choose."""
    found, group = Measured(), "task vector"
    config = Shown(seed)
    tasks = open_tasks(WorldTasks(tasks=TASKS), subject, seed)
    reported: dict[str, list[Figure]] = {}
    for task in tasks:
        prompts = shown(subject, task, config)
        plain = [q.prompt for q in task.questions(subject, drawn(task, config.prompts, seed))]
        asked = task.questions(subject, task.report)
        reported.setdefault("no examples", []).append(_right(subject, asked))
        for method, vectors in (
            ("added", added_task_vectors(subject, prompts, plain, task.name)),
            ("replaced", task_vectors(subject, prompts, task.name)),
        ):
            settings = [Setting(method, "", v.site.layer, 1, (v.intervention(subject),)) for v in vectors]
            frame = sweep(subject, task.questions(subject, task.choose), settings)
            for layer, part in frame.groupby("layer"):
                found.by_layer(group, f"{task.name}, {method}", int(layer), Figure.share(part["right"]))
            vector = vectors[best_layer(frame)[0]]
            value = _right(subject, asked, [vector.intervention(subject)])
            null = _right(subject, asked, [random_like(vector, seed).intervention(subject)])
            found.effects.append(
                Effect(group, f"{task.name}, {method}", _chosen(vector), value, "a random vector", null)
            )
            reported.setdefault(method, []).append(value)
            reported.setdefault(f"{method}, random", []).append(null)
    for method in ("added", "replaced"):
        value, null = (
            Figure.mean([figure.value for figure in reported[name]], seed)
            for name in (method, f"{method}, random")
        )
        name = f"mean over tasks, {method}"
        found.effects.append(Effect(group, name, "layers chosen", value, "a random vector", null))
    without = Figure.mean([figure.value for figure in reported["no examples"]], seed)
    found.effects.append(Effect(group, "mean over tasks", "no examples", without))
    return found


def function_heads(subject: Subject, seed: int) -> Measured:
    """The few heads that raise the answer most without examples, set to what they give behind examples."""
    found, group = Measured(), "function-vector heads"
    config = Shown(seed)
    values, controls = [], []
    for task in open_tasks(WorldTasks(tasks=HEAD_TASKS), subject, seed):
        means = mean_head_outputs(subject, shown(subject, task, config))
        effects = indirect_effects(subject, task.questions(subject, task.choose[:QUERIES]), means)
        heads = top_heads(effects, HEADS)
        asked = task.questions(subject, task.report)
        own = _right(subject, asked, set_heads(subject, heads, means))
        sets = _other_heads(subject, heads, seed)
        random = [_right(subject, asked, set_heads(subject, one, means)) for one in sets]
        control = Figure.mean([figure.value for figure in random], seed)
        at = "heads " + " ".join(f"{layer}.{head}" for layer, head in heads)
        found.effects.append(Effect(group, task.name, at, own, f"{SETS} random sets", control))
        values.append(own.value)
        controls.append(control.value)
    found.effects.append(
        Effect(
            group, "mean over tasks", f"{HEADS} heads, chosen", Figure.mean(values, seed),
            f"{SETS} random sets", Figure.mean(controls, seed),
        )
    )  # fmt: skip
    return found


def _right(subject: Subject, questions: Sequence[Question], edits: Sequence[Intervention] = ()) -> Figure:
    with subject.intervene(*edits):
        return Figure.share(ask(subject, questions).right)


def _other_heads(subject: Subject, heads: Sequence[Head], seed: int) -> list[list[Head]]:
    rng = np.random.default_rng(seed)
    free = [head for head in np.ndindex(subject.n_layers, subject.n_heads) if head not in heads]
    return [[free[p] for p in rng.choice(len(free), len(heads), replace=False)] for _ in range(SETS)]


def _chosen(vector: Vector) -> str:
    return f"layer {vector.site.layer}, chosen"
