"""The steps of `linear_relations`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experiments.common.job import SubjectJob
from experiments.linear_relations.config import Config
from experiments.linear_relations.page import LinearRelationsPage
from interp.errors import UserError
from interp.lenses.answers import Answers
from interp.lenses.linear_relation import LinearRelation, fit_relation
from interp.lenses.patch import Patch
from interp.lenses.prompt import Prompt, prompt_at
from interp.lenses.relations import Relation, told_apart_by_first
from interp.lenses.residual_stream import EMBEDDING, Vectors, read_stream, stream_site
from interp.statistics.estimate import share_interval
from interp.subject.losses import likeliest_tokens
from interp.track.run import Run
from interp.track.step import Step

LEAST = 4  # samples to choose on and to report on, together
LRE, WRONG = "linear relation", "another relation's"
INVERSE, AT_RANDOM = "low-rank inverse", "random direction of its size"
Share = tuple[float, float, float, int]
Number = float | np.floating[Any]


@dataclass(frozen=True, eq=False)
class Samples:
    """Some samples as prompts at their subjects' last tokens, with what stands there and at the end."""

    prompts: tuple[Prompt, ...]
    answers: Answers
    objects: tuple[str, ...]
    subjects: Vectors
    ends: Vectors


@dataclass(frozen=True, eq=False)
class Fitted:
    """A relation with its maps by layer, and the samples that they were chosen and are reported on."""

    relation: Relation
    maps: Mapping[int, LinearRelation]
    choose: Samples
    report: Samples


class Job(SubjectJob[Config]):
    """The steps, and what they share."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.last = self.subject.n_layers - 1
        self.layers = config.layers or tuple(range(EMBEDDING, self.last))
        self.relations = [self._drawn(relation, run) for relation in config.relations.open(self.subject)]
        self.prompts = [self._prompts(relation) for relation in self.relations]

    def steps(self) -> None:
        """All steps in order; those that have finished are skipped."""
        self.run.step("relations", self.measure)
        self.write_page(lambda: LinearRelationsPage(self.run, self.subject, self.config))

    def measure(self, step: Step) -> None:
        """Every relation: faithfulness against baselines, and causal edits against controls."""
        with step.progress.task("fitting", total=len(self.relations), unit="relations") as advance:
            fitted: list[Fitted] = []
            for relation, prompts in zip(self.relations, self.prompts, strict=True):
                fitted.append(self._fitted(relation, prompts))
                advance()
        faithful, profiles, edits = [], [], []
        with step.progress.task("measuring", total=len(fitted), unit="relations") as advance:
            for place, one in enumerate(fitted):
                another = fitted[(place + 1) % len(fitted)]
                rows, profile = self._faithfulness(one, another if len(fitted) > 1 else None)
                faithful += rows
                profiles += profile
                edits += self._edits(one, Random(f"{one.relation.name} {self.config.seed}"))
                advance()
        ends = ["right", "right_low", "right_high", "n"]
        table = pd.DataFrame(faithful, columns=["relation", "method", "layer", "beta", *ends])
        step.table("faithfulness", table)
        step.table(
            "faithfulness_by_layer", pd.DataFrame(profiles, columns=["relation", "method", "layer", *ends])
        )
        changed = pd.DataFrame(edits, columns=["relation", "edit", "layer", "rank", *ends])
        step.table("edits", changed)
        for frame, key in ((table, "method"), (changed, "edit")):
            for name, own in frame.groupby(key, sort=False):
                step.metric(str(name), own["right"].mean(), headline=name in (LRE, INVERSE))

    def _drawn(self, relation: Relation, run: Run) -> Relation:
        relation, notes = told_apart_by_first(relation, self.subject)
        run.tell(*notes)
        samples = list(relation.samples)
        Random(f"{relation.name} {self.config.seed}").shuffle(samples)
        return replace(relation, samples=tuple(samples[: self.config.most]))

    def _prompts(self, relation: Relation) -> list[Prompt]:
        """Each sample's question behind those that are shown, with its subject's last token."""
        shown = relation.samples[: self.config.shown]
        return [prompt_at(self.subject, relation.ask(name, shown), name) for name, _ in relation.samples]

    def _fitted(self, relation: Relation, prompts: Sequence[Prompt]) -> Fitted:
        """The relation's maps, from samples that the model knows."""
        samples = relation.samples
        answers = Answers.of(self.subject, [answer for _, answer in samples])
        right = answers.right(self.subject, prompts)
        known = np.flatnonzero(right | (not self.config.known_only)).tolist()
        examples, rest = known[: self.config.examples], known[self.config.examples :]
        if len(rest) < LEAST:
            raise UserError(
                f"the model answers {len(known)} of {len(samples)} samples rightly, too few to fit on "
                f"{self.config.examples} and to hold that against others",
                f"relation {relation.name}",
                "leave the relation out, or fit on fewer examples",
            )
        made = [prompts[place] for place in examples]
        maps = {layer: fit_relation(self.subject, made, layer) for layer in self.layers}
        half = len(rest) // 2
        parts = [self._samples(prompts, answers, samples, places) for places in (rest[:half], rest[half:])]
        return Fitted(relation, maps, *parts)

    def _samples(
        self,
        prompts: Sequence[Prompt],
        answers: Answers,
        samples: Sequence[tuple[str, str]],
        places: Sequence[int],
    ) -> Samples:
        own = [prompts[place] for place in places]
        return Samples(
            tuple(own),
            answers.of_items(places),
            tuple(samples[place][1] for place in places),
            read_stream(self.subject, own),
            read_stream(self.subject, [prompt.at(-1) for prompt in own]),
        )

    def _faithfulness(self, one: Fitted, another: Fitted | None) -> tuple[list[Any], list[Any]]:
        """Of held-out subjects, the share whose object a method names; layer and beta chosen on others."""
        rows, profile = [], []
        for method, ways in self._methods(one, another).items():
            scored = {way: self._named(found(one.choose), one.choose).mean() for way, found in ways.items()}
            layer, beta = _steadiest(scored)
            share = _share(self._named(ways[layer, beta](one.report), one.report))
            rows.append((one.relation.name, method, layer, beta, *share))
            for at in dict.fromkeys(layer for layer, _ in ways):
                best = max((way for way in ways if way[0] == at), key=lambda way: scored[way])
                found = _share(self._named(ways[best](one.report), one.report))
                profile.append((one.relation.name, method, at, *found))
        return rows, profile

    def _methods(self, one: Fitted, another: Fitted | None) -> dict[str, dict[tuple[int, float], Any]]:
        """For every method, what it predicts behind the last layer, by layer and beta."""
        shift = {layer: self._shift(one.choose, layer) for layer in self.layers}
        methods: dict[str, dict[tuple[int, float], Any]] = {
            LRE: {
                (layer, beta): _Apply(replace(one.maps[layer], beta=beta))
                for layer in self.layers
                for beta in self.config.betas
            },
            "translation": {(n, 1.0): _Shift(n, shift[n]) for n in self.layers},
            "identity": {(n, 1.0): _Shift(n, torch.zeros(self.subject.d_model)) for n in self.layers},
            "logit lens at the last token": {(n, 1.0): _AtEnd(n) for n in self.layers},
        }
        if another is not None:
            methods[WRONG] = {
                (layer, beta): _Apply(replace(another.maps[layer], beta=beta))
                for layer in self.layers
                for beta in self.config.betas
            }
        return methods

    def _shift(self, samples: Samples, layer: int) -> Float[Tensor, " d_model"]:
        mean: Tensor = (samples.ends[self.last] - samples.subjects[layer]).mean(0)
        return mean

    def _named(self, predicted: Float[Tensor, "item d_model"], samples: Samples) -> Bool[np.ndarray, " item"]:
        """Whether the likeliest word of what is predicted begins the object."""
        with torch.no_grad():
            normed = self.subject.final_norm(predicted.to(self.subject.device, self.subject.dtype))
            top = likeliest_tokens(self.subject, normed).tolist()
        named = samples.answers.first(self.subject, samples.prompts)
        found = [token in first for token, first in zip(top, named, strict=True)]
        return np.array(found, dtype=bool)

    def _edits(self, one: Fitted, random: Random) -> list[Any]:
        """Objects turned into another sample's, by the inverse and by controls; chosen on the first half."""
        to_choose, wanted = _targets(one.choose.objects, random), _targets(one.report.objects, random)
        if to_choose is None or wanted is None:
            return []
        rows = []
        for name, edit in ((AT_RANDOM, self._at_random), (INVERSE, self._inverse)):
            scored = {
                (layer, rank): self._turned(
                    one.choose, to_choose, layer, edit(one, one.choose, to_choose, layer, rank)
                ).mean()
                for layer, rank in product(self.layers, self.config.ranks)
                if rank <= self.subject.d_model
            }
            layer, rank = _steadiest(scored)
            edited = edit(one, one.report, wanted, layer, rank)
            share = _share(self._turned(one.report, wanted, layer, edited))
            rows.append((one.relation.name, name, layer, rank, *share))
        own = one.report.subjects[layer]
        for name, vectors in (("the other subject itself", own[wanted]), ("unchanged", own)):
            share = _share(self._turned(one.report, wanted, layer, vectors))
            rows.append((one.relation.name, name, layer, None, *share))
        return rows

    def _inverse(
        self, one: Fitted, samples: Samples, wanted: Sequence[int], layer: int, rank: int
    ) -> Float[Tensor, "item d_model"]:
        ends = samples.ends[self.last]
        return one.maps[layer].edited(samples.subjects[layer], ends[list(wanted)], ends, rank)

    def _at_random(
        self, one: Fitted, samples: Samples, wanted: Sequence[int], layer: int, rank: int
    ) -> Float[Tensor, "item d_model"]:
        """As far as the inverse moves each activation, in a random direction."""
        own = samples.subjects[layer]
        moved = (self._inverse(one, samples, wanted, layer, rank) - own).norm(dim=-1, keepdim=True)
        generator = torch.Generator().manual_seed(self.config.seed)
        direction = torch.nn.functional.normalize(torch.randn(own.shape, generator=generator), dim=-1)
        return own + moved * direction

    def _turned(
        self, samples: Samples, wanted: Sequence[int], layer: int, vectors: Float[Tensor, "item d_model"]
    ) -> Bool[np.ndarray, " item"]:
        """Whether the model answers with the other object once the subject's activation is replaced."""
        answers = samples.answers.of_items(wanted)
        return answers.right(self.subject, samples.prompts, Patch(stream_site(layer), vectors))


@dataclass(frozen=True, eq=False)
class _Apply:
    """The object by a relation."""

    relation: LinearRelation

    def __call__(self, samples: Samples) -> Float[Tensor, "item d_model"]:
        return self.relation(samples.subjects[self.relation.layer])


@dataclass(frozen=True, eq=False)
class _Shift:
    """The subject's activation and a vector."""

    layer: int
    vector: Float[Tensor, " d_model"]

    def __call__(self, samples: Samples) -> Float[Tensor, "item d_model"]:
        return samples.subjects[self.layer] + self.vector


@dataclass(frozen=True)
class _AtEnd:
    """What stands at the prompt's last token behind the same layer."""

    layer: int

    def __call__(self, samples: Samples) -> Float[Tensor, "item d_model"]:
        return samples.ends[self.layer]


def _steadiest(scored: Mapping[tuple[int, Any], Number]) -> tuple[int, Any]:
    """The layer and setting with the best score; of equals, that of the layer that does best on average."""
    mean = {
        layer: np.mean([score for (own, _), score in scored.items() if own == layer]) for layer, _ in scored
    }
    return max(scored, key=lambda way: (scored[way], mean[way[0]]))


def _targets(objects: Sequence[str], random: Random) -> list[int] | None:
    """For each sample another with another object; None if all have the same."""
    found = []
    for own in objects:
        fitting = [place for place, other in enumerate(objects) if other != own]
        if not fitting:
            return None
        found.append(random.choice(fitting))
    return found


def _share(right: Iterable[bool]) -> Share:
    values = list(right)
    return (*share_interval(sum(map(int, values)), len(values)), len(values))
