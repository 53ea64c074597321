"""Baselines for a linear relation: simpler maps, another relation's map, and edits in random directions.

Hernandez et al. 2024 (arXiv 2308.09124), sections 3 and 4: faithfulness is the share of held-out subjects
whose object is the map's likeliest word; causality the share of answers that become another object once the
subject's activation is moved by the map's low-rank inverse. Layer, factor and rank are chosen on one half of
the held-out samples and reported on the other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.lenses.answers import Answers
from interp.lenses.linear_relation import LinearRelation
from interp.lenses.patch import Patch
from interp.lenses.prompt import Prompt
from interp.lenses.residual_stream import Vectors, read_stream, stream_site
from interp.statistics.estimate import share_interval
from interp.subject.losses import likeliest_tokens
from interp.subject.subject import Subject

LRE, WRONG = "linear relation", "another relation's"
INVERSE, AT_RANDOM = "low-rank inverse", "random direction of its size"
OTHER_SUBJECT = "the other subject itself"


@dataclass(frozen=True, eq=False)
class RelationSamples:
    """Samples as prompts at their subjects' last tokens, with the residual stream there and at the end."""

    prompts: tuple[Prompt, ...]
    answers: Answers
    objects: tuple[str, ...]
    subjects: Vectors
    ends: Vectors

    @classmethod
    def read(
        cls, subject: Subject, prompts: Sequence[Prompt], answers: Answers, objects: Sequence[str]
    ) -> "RelationSamples":
        """Reads the residual stream at every subject's last token and at every prompt's end."""
        ends = read_stream(subject, [prompt.at(-1) for prompt in prompts])
        return cls(tuple(prompts), answers, tuple(objects), read_stream(subject, prompts), ends)


@dataclass(frozen=True, eq=False)
class FittedRelation:
    """A relation's maps by layer, and the samples to choose layers on and to report on."""

    name: str
    maps: Mapping[int, LinearRelation]
    choose: RelationSamples
    report: RelationSamples


class Faithful(NamedTuple):
    """The share of objects that a method predicts, with factor (and layer) chosen on the other half."""

    relation: str
    method: str
    layer: int
    beta: float
    right: float
    right_low: float
    right_high: float
    n: int


class Edited(NamedTuple):
    """The share of answers that became the wanted object, at the layer and rank chosen on the other half."""

    relation: str
    edit: str
    layer: int
    rank: int | None
    right: float
    right_low: float
    right_high: float
    n: int


Predict = Callable[[RelationSamples], Float[Tensor, "item d_model"]]
"""A method's prediction of the residual stream after the last layer."""
Move = Callable[[FittedRelation, RelationSamples, Sequence[int], int, int], Float[Tensor, "item d_model"]]
"""Moves subjects' activations towards the objects of other samples: at a layer, with a rank."""


def faithfulness(
    subject: Subject, one: FittedRelation, another: FittedRelation | None, betas: Sequence[float]
) -> tuple[list[Faithful], list[Faithful]]:
    """Measures the share of held-out objects that the relation's map and every baseline predict.

    One baseline is the map of `another` relation. Returns a row for each method at its chosen layer, and a
    row for each method and layer.
    """
    found, profile = [], []
    for method, ways in _methods(subject, one, another, betas).items():
        scored = {way: _named(subject, predict, one.choose).mean() for way, predict in ways.items()}
        layer, beta = _steadiest(scored)
        share = _share(_named(subject, ways[layer, beta], one.report))
        found.append(Faithful(one.name, method, layer, beta, *share))
        for at in dict.fromkeys(layer for layer, _ in ways):
            best = max((way for way in ways if way[0] == at), key=lambda way: scored[way])
            share = _share(_named(subject, ways[best], one.report))
            profile.append(Faithful(one.name, method, at, best[1], *share))
    return found, profile


def edits(subject: Subject, one: FittedRelation, ranks: Sequence[int], seed: int) -> list[Edited]:
    """Edits objects into another sample's, by the inverse and by controls; empty if there is one object."""
    random = Random(f"{one.name} {seed}")
    to_choose, wanted = _targets(one.choose.objects, random), _targets(one.report.objects, random)
    if to_choose is None or wanted is None:
        return []
    moves: dict[str, Move] = {AT_RANDOM: partial(_at_random, seed), INVERSE: _inverse}
    found = []
    for name, move in moves.items():
        scored = {
            (layer, rank): _changed_to_wanted(
                subject, one.choose, to_choose, layer, move(one, one.choose, to_choose, layer, rank)
            ).mean()
            for layer, rank in product(one.maps, ranks)
            if rank <= subject.d_model
        }
        layer, rank = _steadiest(scored)
        moved = move(one, one.report, wanted, layer, rank)
        share = _share(_changed_to_wanted(subject, one.report, wanted, layer, moved))
        found.append(Edited(one.name, name, layer, rank, *share))
    own = one.report.subjects[layer]
    for name, vectors in ((OTHER_SUBJECT, own[wanted]), ("unchanged", own)):
        share = _share(_changed_to_wanted(subject, one.report, wanted, layer, vectors))
        found.append(Edited(one.name, name, layer, None, *share))
    return found


def _methods(
    subject: Subject, one: FittedRelation, another: FittedRelation | None, betas: Sequence[float]
) -> dict[str, dict[tuple[int, float], Predict]]:
    """For each method, its predictions by layer and factor."""
    last = subject.n_layers - 1

    def scaled(maps: Mapping[int, LinearRelation]) -> dict[tuple[int, float], Predict]:
        return {
            (layer, beta): partial(_by_map, replace(maps[layer], beta=beta))
            for layer, beta in product(maps, betas)
        }

    shifts = {n: (one.choose.ends[last] - one.choose.subjects[n]).mean(0) for n in one.maps}
    methods: dict[str, dict[tuple[int, float], Predict]] = {
        LRE: scaled(one.maps),
        "translation": {(n, 1.0): partial(_shifted, n, shift) for n, shift in shifts.items()},
        "identity": {(n, 1.0): partial(_at_subject, n) for n in one.maps},
        "logit lens at the last token": {(n, 1.0): partial(_at_end, n) for n in one.maps},
    }
    if another is not None:
        methods[WRONG] = scaled(another.maps)
    return methods


def _by_map(relation: LinearRelation, samples: RelationSamples) -> Float[Tensor, "item d_model"]:
    return relation(samples.subjects[relation.layer])


def _shifted(
    layer: int, shift: Float[Tensor, " d_model"], samples: RelationSamples
) -> Float[Tensor, "item d_model"]:
    return samples.subjects[layer] + shift


def _at_subject(layer: int, samples: RelationSamples) -> Float[Tensor, "item d_model"]:
    return samples.subjects[layer]


def _at_end(layer: int, samples: RelationSamples) -> Float[Tensor, "item d_model"]:
    return samples.ends[layer]


def _named(subject: Subject, predict: Predict, samples: RelationSamples) -> Bool[np.ndarray, " item"]:
    """Whether the likeliest token of each prediction begins the object."""
    with torch.no_grad():
        normed = subject.final_norm(predict(samples).to(subject.device, subject.dtype))
        top = likeliest_tokens(subject, normed).tolist()
    first = samples.answers.first(subject, samples.prompts)
    return np.array([token in own for token, own in zip(top, first, strict=True)], dtype=bool)


def _inverse(
    one: FittedRelation, samples: RelationSamples, wanted: Sequence[int], layer: int, rank: int
) -> Float[Tensor, "item d_model"]:
    ends = samples.ends[max(samples.ends)]
    return one.maps[layer].edited(samples.subjects[layer], ends[list(wanted)], ends, rank)


def _at_random(
    seed: int, one: FittedRelation, samples: RelationSamples, wanted: Sequence[int], layer: int, rank: int
) -> Float[Tensor, "item d_model"]:
    """Moves each activation as far as the inverse does, in a random direction."""
    own = samples.subjects[layer]
    moved = (_inverse(one, samples, wanted, layer, rank) - own).norm(dim=-1, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(own.shape, generator=generator), dim=-1)
    edited: Tensor = own + moved * direction
    return edited


def _changed_to_wanted(
    subject: Subject,
    samples: RelationSamples,
    wanted: Sequence[int],
    layer: int,
    vectors: Float[Tensor, "item d_model"],
) -> Bool[np.ndarray, " item"]:
    """Whether the model answers with the other object once the subject's activation is replaced."""
    answers = samples.answers.of_items(wanted)
    return answers.right(subject, samples.prompts, Patch(stream_site(layer), vectors))


def _steadiest(scored: Mapping[tuple[int, Any], Any]) -> tuple[int, Any]:
    """The layer and setting with the best score; of ties, the one whose layer has the best mean."""
    mean = {
        layer: np.mean([score for (own, _), score in scored.items() if own == layer]) for layer, _ in scored
    }
    return max(scored, key=lambda way: (scored[way], mean[way[0]]))


def _targets(objects: Sequence[str], random: Random) -> list[int] | None:
    """Draws, for each sample, one with another object; None if all have the same."""
    found = []
    for own in objects:
        fitting = [place for place, other in enumerate(objects) if other != own]
        if not fitting:
            return None
        found.append(random.choice(fitting))
    return found


def _share(right: Bool[np.ndarray, " item"]) -> tuple[float, float, float, int]:
    return (*share_interval(int(right.sum()), len(right)), len(right))
