"""Measures vectors that steer: refusal, in-context tasks, and the heads that carry tasks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from jaxtyping import Bool

from interp.bundled.world.lexicon import lexicon
from interp.causal.outcome import ask
from interp.corpus.questions import Question
from interp.subject import Subject
from interp.subject.forward import Intervention
from interp.vectors.control import Control, best_random
from interp.vectors.function import Head, indirect_effects, mean_head_outputs, set_heads, top_heads
from interp.vectors.refusal import RefusalMeans, mean_centred_ablation, refusal_candidates
from interp.vectors.requests import RequestParts, Requests, WorldRequests
from interp.vectors.sweep import Setting, best_layer, sweep
from interp.vectors.task import added_task_vectors, task_vectors
from interp.vectors.tasks import Task, WorldTasks, task_prompts
from interp.vectors.vector import Vector

from ..common.frames import groups
from .effect import Effect, EffectResults, ItemEstimate

STRENGTHS = (1.0, 1.5)
RANDOM = "a random direction"
TASKS = ("antonym", "plural", "past", "capital", "language", "currency", "zorvic", "tamric")
HEAD_TASKS = ("antonym", "plural", "capital", "language", "zorvic")
HEADS, SETS = 4, 5
ANY_LAYER, SAME_LAYERS = f"{SETS} random sets", f"{SETS} random sets in the same layers"
OTHER_TASK = "what the heads give after another task's examples"
CONTROLS = (ANY_LAYER, SAME_LAYERS, OTHER_TASK)
QUERIES, PROMPTS, SHOTS = 50, 48, 6


Measure = Callable[[Subject, Sequence[Question], Sequence[Intervention]], ItemEstimate]
Tried = tuple[Vector, float]
"""A vector and its strength."""


def refusal(subject: Subject, seed: int) -> EffectResults:
    """Applies the refusal direction of every layer: added, projected out, and set to its harmless mean.

    Layer and strength are chosen on requests of the training set, and reported on requests that training
    never showed; the middle layer, which is not chosen, is reported beside it.
    """
    found, group = EffectResults(), "refusal"
    asked = WorldRequests().open(subject, seed)
    prompts = ([q.prompt for q in part.train] for part in (asked.harmful, asked.harmless))
    candidates = refusal_candidates(subject, *prompts)
    vectors = [candidates.vector(-1, layer) for layer in range(1, subject.n_layers)]

    nulls = Control(seed).like(vectors, 0)

    def effect(name: str, at: str, how: str, *settings: Tried, measure: Measure = _right) -> Effect:
        report = _asked(asked, how).report
        own, null = (
            measure(subject, report, _edits(subject, vector, candidates, how, strength))
            for vector, strength in settings
        )
        return Effect(group, name, at, own, RANDOM, null)

    def best(how: str, tried: Sequence[Tried]) -> Tried:
        sign = 1 if how == "added" else -1
        asked_of = _asked(asked, how).validation
        edits = [_edits(subject, vector, candidates, how, strength) for vector, strength in tried]
        refused = [sign * _right(subject, asked_of, edit).value for edit in edits]
        return tried[int(np.argmax(refused))]

    for how in ("added", "projected out", "mean-centred"):
        report, strengths = _asked(asked, how).report, STRENGTHS if how == "added" else (1.0,)
        for strength, vector in product(strengths, vectors):
            series = f"{how}, {strength:g}x" if how == "added" else how
            edits = _edits(subject, vector, candidates, how, strength)
            found.by_layer(group, series, vector.site.layer, _right(subject, report, edits))
        chosen, null = (
            best(how, [(vector, strength) for strength, vector in product(strengths, those)])
            for those in (vectors, nulls)
        )
        vector, strength = chosen
        name = f"{'harmless' if how == 'added' else 'harmful'} requests refused, {how}"
        at = f"layer {vector.site.layer}, {strength:g}x, chosen" if how == "added" else _chosen(vector)
        middle, beside = (those[subject.n_layers // 2 - 1] for those in (vectors, nulls))
        found.effects += [
            effect(name, at, how, chosen, null),
            effect(name, f"layer {middle.site.layer}, in the middle", how, (middle, 1.0), (beside, 1.0)),
        ]
        if how == "mean-centred":
            complied = f"harmful requests complied with, {how}"
            found.effects.append(effect(complied, at, how, chosen, null, measure=_complies))
    for before, kind in (("harmless", asked.harmless), ("harmful", asked.harmful)):
        unchanged = _right(subject, kind.report)
        found.effects.append(Effect(group, f"{before} requests refused", "unchanged", unchanged))
    return found


def _asked(asked: Requests, how: str) -> RequestParts:
    """Returns the requests that a change is tried on."""
    return asked.harmless if how == "added" else asked.harmful


def _edits(
    subject: Subject, vector: Vector, candidates: RefusalMeans, how: str, strength: float
) -> Sequence[Intervention]:
    if how == "added":
        return [vector.intervention(subject, strength, "last")]
    if how == "projected out":
        return [vector.project_out(subject)]
    return mean_centred_ablation(subject, vector, candidates)


def task_vectors_of(subject: Subject, seed: int) -> EffectResults:
    """Adds task vectors, or replaces activations by them, at the layer chosen on other queries."""
    found, group = EffectResults(), "task vector"
    tasks = WorldTasks(tasks=TASKS).open(subject, seed)
    reported: dict[str, list[ItemEstimate]] = {}
    for task in tasks:
        prompts = _shown(subject, task, seed)
        plain = [q.prompt for q in task.questions(subject, task.drawn(PROMPTS, seed))]
        asked = task.questions(subject, task.report)
        reported.setdefault("no examples", []).append(_right(subject, asked))
        for method, vectors in (
            ("added", added_task_vectors(subject, prompts, plain, task.name)),
            ("replaced", task_vectors(subject, prompts, task.name)),
        ):
            settings = [Setting(method, "", v.site.layer, 1, (v.intervention(subject),)) for v in vectors]
            frame = sweep(subject, task.questions(subject, task.choose), settings)
            for (layer,), part in groups(frame, "layer"):
                found.by_layer(group, f"{task.name}, {method}", int(layer), ItemEstimate.share(part["right"]))
            vector = vectors[best_layer(frame)[0]]
            value = _right(subject, asked, [vector.intervention(subject)])
            to_choose = task.questions(subject, task.choose)
            (drawn_anew,) = best_random(subject, to_choose, vectors, (1.0,), Control(seed, 1))
            null = _right(subject, asked, [drawn_anew.intervention(subject)])
            found.effects.append(
                Effect(group, f"{task.name}, {method}", _chosen(vector), value, "a random vector", null)
            )
            reported.setdefault(method, []).append(value)
            reported.setdefault(f"{method}, random", []).append(null)
    for method in ("added", "replaced"):
        value, null = (
            ItemEstimate.mean([figure.value for figure in reported[name]], seed)
            for name in (method, f"{method}, random")
        )
        name = f"mean over tasks, {method}"
        found.effects.append(Effect(group, name, "layers chosen", value, "a random vector", null))
    without = ItemEstimate.mean([figure.value for figure in reported["no examples"]], seed)
    found.effects.append(Effect(group, "mean over tasks", "no examples", without))
    return found


def function_heads(subject: Subject, seed: int) -> EffectResults:
    """Sets the heads that raise the answer most without examples to their outputs after examples."""
    found, group = EffectResults(), "function-vector heads"
    tasks = WorldTasks(tasks=HEAD_TASKS).open(subject, seed)
    means_of = [mean_head_outputs(subject, _shown(subject, task, seed)) for task in tasks]
    shares: dict[str, list[float]] = {name: [] for name in ("own", *CONTROLS, "none")}
    for place, (task, means) in enumerate(zip(tasks, means_of, strict=True)):
        effects = indirect_effects(subject, task.questions(subject, task.choose[:QUERIES]), means)
        heads = top_heads(effects, HEADS)
        asked = task.questions(subject, task.report)
        own = _right(subject, asked, set_heads(subject, heads, means))
        rng = np.random.default_rng(seed)
        sets = {
            ANY_LAYER: [_other_heads(subject, heads, rng) for _ in range(SETS)],
            SAME_LAYERS: [_heads_beside(subject, heads, rng) for _ in range(SETS)],
        }
        at = "heads " + " ".join(f"{layer}.{head}" for layer, head in heads)
        shares["own"].append(own.value)
        for against, drawn_sets in sets.items():
            control = ItemEstimate.over_draws(
                [_outcomes(subject, asked, set_heads(subject, one, means)) for one in drawn_sets], seed
            )
            found.effects.append(Effect(group, task.name, at, own, against, control))
            shares[against].append(control.value)
        other_task = set_heads(subject, heads, means_of[(place + 1) % len(tasks)])
        shares[OTHER_TASK].append(_right(subject, asked, other_task).value)
        shares["none"].append(_right(subject, asked).value)
    mean = {name: ItemEstimate.mean(values, seed) for name, values in shares.items()}
    for against in CONTROLS:
        found.effects.append(
            Effect(
                group, "mean over tasks", f"{HEADS} heads, chosen", mean["own"], against, mean[against]
            )
        )  # fmt: skip
    found.effects.append(Effect(group, "mean over tasks, no head set", "no examples", mean["none"]))
    return found


def _right(
    subject: Subject, questions: Sequence[Question], edits: Sequence[Intervention] = ()
) -> ItemEstimate:
    return ItemEstimate.share(_outcomes(subject, questions, edits))


def _outcomes(
    subject: Subject, questions: Sequence[Question], edits: Sequence[Intervention]
) -> Bool[np.ndarray, " question"]:
    with subject.intervene(*edits):
        return ask(subject, questions).right


def _complies(subject: Subject, requests: Sequence[Question], edits: Sequence[Intervention]) -> ItemEstimate:
    """Measures how often the likeliest answer names a tool, as answers that comply do."""
    words = dict.fromkeys(tool.split()[0] for tool in lexicon().requests.tools.values())
    tools = tuple((subject.single_token(word, "tools"),) for word in words)
    return _right(subject, [replace(request, answers=tools) for request in requests], edits)


def _other_heads(subject: Subject, heads: Sequence[Head], rng: np.random.Generator) -> list[Head]:
    """Draws as many other heads from all layers."""
    free = [head for head in np.ndindex(subject.n_layers, subject.n_heads) if head not in heads]
    return [free[place] for place in rng.choice(len(free), len(heads), replace=False)]


def _heads_beside(subject: Subject, heads: Sequence[Head], rng: np.random.Generator) -> list[Head]:
    """Draws as many other heads from the same layers; where all of a layer are chosen, those."""
    found: list[Head] = []
    for layer in sorted({layer for layer, _ in heads}):
        count = sum(layer == own for own, _ in heads)
        free = [(layer, head) for head in range(subject.n_heads) if (layer, head) not in heads]
        missing = count - len(free)
        if missing > 0:
            free += [head for head in heads if head[0] == layer][:missing]
        found += [free[place] for place in rng.choice(len(free), count, replace=False)]
    return found


def _chosen(vector: Vector) -> str:
    return f"layer {vector.site.layer}, chosen"


def _shown(subject: Subject, task: Task, seed: int) -> list[list[int]]:
    """Returns prompts that show a task, over which means are taken."""
    return task_prompts(subject, task, PROMPTS, SHOTS, only_right=False, seed=seed)
