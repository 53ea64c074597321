"""Configs of steering methods; each turns the pairs of a behaviour into settings to sweep."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from interp.fields import Count, Finite, NonEmpty, Offset, Section, Steps
from interp.intervene.positions import Named
from interp.subject.forward import Intervention
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.vectors.contrast import Contrast
from interp.vectors.contrastive import Aggregate, contrastive_vectors, read_pairs
from interp.vectors.control import Control
from interp.vectors.function import function_vector, indirect_effects, mean_head_outputs, top_heads
from interp.vectors.in_context import in_context_vectors
from interp.vectors.inference_time import Direction, inference_time_vectors, probe_heads
from interp.vectors.sweep import SEVERAL, Setting, answered
from interp.vectors.task import task_vectors
from interp.vectors.truthful import TruthfulEdit, TruthfulTraining, train_truthful_space
from interp.vectors.vector import Vector

Strengths = NonEmpty[Finite]


class _Method(Section):
    least_pairs: ClassVar[int] = 2

    @abstractmethod
    def settings(self, subject: Subject, contrast: Contrast, control: Control) -> list[Setting]:
        """Makes all settings of the method from the contrast's pairs, with random nulls of the control."""


class ContrastiveMethod(_Method):
    """Differences of the two sides' activations, added at one layer."""

    kind: Literal["contrastive"] = "contrastive"
    how: NonEmpty[Aggregate] = ("mean", "pca", "logistic")
    """How pairs become a direction: mean, pca, logistic."""
    strengths: Strengths = (0.5, 1, 2, 4)
    """Multiples of the mean difference's length at the layer; negative ones go the other way."""
    positions: NonEmpty[Named] = ("last",)
    """Where it is added: all, prompt, last, steps."""
    read: Offset = -1
    """Which token of a pair's texts is read, counted from the end; CAA's answers in brackets need -2."""

    def settings(self, subject: Subject, contrast: Contrast, control: Control) -> list[Setting]:
        """Makes a setting for every layer, aggregate, position and strength."""
        sites = [Site("resid_post", layer) for layer in range(subject.n_layers)]
        readings = read_pairs(subject, contrast.pairs, sites, self.read)
        made = {
            how: contrastive_vectors(
                subject, contrast.pairs, contrast.name, how=how, position=self.read, readings=readings
            )
            for how in dict.fromkeys(("mean", *self.how))
        }
        return [
            one_vector(subject, f"contrastive, {how}", vector.scaled_to(mean.norm), strength, where, control)
            for how in self.how
            for vector, mean in zip(made[how], made["mean"], strict=True)
            for strength in self.strengths
            for where in self.positions
        ]


class ProjectionMethod(_Method):
    """The mean difference projected out of everything that writes to the residual stream."""

    kind: Literal["projection"] = "projection"

    def settings(self, subject: Subject, contrast: Contrast, control: Control) -> list[Setting]:
        """Makes a setting for the direction of every layer."""
        return [
            one_vector(subject, "projection", replace(vector, use="project_out"), 1, "all", control)
            for vector in contrastive_vectors(subject, contrast.pairs, contrast.name)
        ]


class TaskMethod(_Method):
    """The mean activation of the positive side, which replaces that of the last token at one layer."""

    kind: Literal["task"] = "task"

    def settings(self, subject: Subject, contrast: Contrast, control: Control) -> list[Setting]:
        """Makes a setting for every layer."""
        vectors = task_vectors(subject, [pair.positive for pair in contrast.pairs], contrast.name)
        return [one_vector(subject, "task vector", v, 1, v.positions, control) for v in vectors]


class FunctionMethod(_Method):
    """The sum of the most effective heads' outputs on the positive side, added at the last token."""

    kind: Literal["function"] = "function"
    heads: Count = 4
    """How many heads, by their mean effect on the answers to the questions that are chosen on."""
    strengths: Strengths = (1, 2)
    """Multiples of the sum."""

    def settings(self, subject: Subject, contrast: Contrast, control: Control) -> list[Setting]:
        """Makes a setting for every layer and strength."""
        means = mean_head_outputs(subject, [pair.positive for pair in contrast.pairs])
        heads = top_heads(indirect_effects(subject, contrast.choose, means), self.heads)
        return [
            one_vector(subject, "function vector", vector, strength, vector.positions, control)
            for layer in range(subject.n_layers)
            for vector in [function_vector(subject, heads, means, contrast.name, layer)]
            for strength in self.strengths
        ]


class InContextMethod(_Method):
    """Directions of all layers together, added to the MLPs' outputs without a change of norm."""

    kind: Literal["in_context"] = "in_context"
    strengths: Strengths = (0.05, 0.1, 0.2, 0.5, 1, 2)
    """The paper's lambda."""

    def settings(self, subject: Subject, contrast: Contrast, control: Control) -> list[Setting]:
        """Makes a setting for every strength, in all layers together and in each alone."""
        vectors = in_context_vectors(subject, contrast.pairs, contrast.name)
        together = [
            several_vectors(subject, "in-context vector", "all layers", vectors, strength, control)
            for strength in self.strengths
        ]
        return together + [
            one_vector(subject, "in-context vector", vector, strength, vector.positions, control)
            for vector in vectors
            for strength in self.strengths
        ]


class InferenceTimeMethod(_Method):
    """Shifts of the heads from which a probe best tells the two sides apart."""

    least_pairs = 5
    kind: Literal["inference_time"] = "inference_time"
    heads: NonEmpty[Count] = (4, 8, 16)
    """How many heads."""
    strengths: Strengths = (1, 3, 10)
    """The paper's alpha: standard deviations of a head's outputs along its direction."""
    direction: Direction = "mass"
    """The difference of the sides' means (mass), the probe's weights (probe), or random."""

    def settings(self, subject: Subject, contrast: Contrast, control: Control) -> list[Setting]:
        """Makes a setting for every number of heads and strength, and for all heads of each layer alone."""
        probes = probe_heads(subject, contrast.pairs, self.direction, seed=control.seed)
        every = inference_time_vectors(subject, probes, probes.accuracy.numel(), contrast.name)
        found = []
        for strength in self.strengths:
            for count in self.heads:
                best = inference_time_vectors(subject, probes, count, contrast.name)
                found.append(
                    several_vectors(subject, "inference-time", f"{count} heads", best, strength, control)
                )
            for vector in every:
                found.append(
                    one_vector(subject, "inference-time", vector, strength, vector.positions, control)
                )
        return found


class TruthfulMethod(_Method):
    """Editing in a learned space that separates the behaviour from the content (TruthX)."""

    least_pairs = 4
    kind: Literal["truthful"] = "truthful"
    strengths: Strengths = (0.5, 1, 2, 4)
    """How much of an activation's norm is moved."""
    top_sites: NonEmpty[Count] = (4, 8)
    """How many sites are edited, those at which the space tells the two sides best."""
    steps: Steps = 300
    """Training steps of the space."""

    def settings(self, subject: Subject, contrast: Contrast, control: Control) -> list[Setting]:
        """Makes a setting for every number of sites and strength, and for the sites of each layer alone.

        The null moves activations by the same distance in random directions.
        """
        sites = [Site("mlp_out", layer) for layer in range(subject.n_layers)]
        if subject.n_heads * subject.d_head == subject.d_model:
            sites += [Site("head_out", layer) for layer in range(subject.n_layers)]
        readings = read_pairs(subject, contrast.pairs, sites)
        positive, negative = (
            {site: values.flatten(1) for site, values in side.items()}
            for side in (readings.positive, readings.negative)
        )
        options = TruthfulTraining(steps=self.steps, seed=control.seed)
        space = train_truthful_space(positive, negative, options)

        def setting(where: str, layer: int, strength: float, at: Sequence[Site]) -> Setting:
            own, *null = (
                (TruthfulEdit(subject, space, strength, "steps", sites=at, null_seed=drawn),)
                for drawn in (None, *range(control.seed, control.seed + control.draws))
            )
            return Setting("truthful space", where, layer, strength, own, random=tuple(null))

        found = []
        for strength in self.strengths:
            for count in self.top_sites:
                best = space.ranked()[:count]
                found.append(setting(f"{count} sites", SEVERAL, strength, best))
            for layer in range(subject.n_layers):
                own = [site for site in sites if site.layer == layer]
                found.append(setting(f"layer {layer}", layer, strength, own))
        return found


Method = Annotated[
    ContrastiveMethod
    | ProjectionMethod
    | TaskMethod
    | FunctionMethod
    | InContextMethod
    | InferenceTimeMethod
    | TruthfulMethod,
    Field(discriminator="kind"),
]


def one_vector(
    subject: Subject, method: str, vector: Vector, strength: float | int, where: Named, control: Control
) -> Setting:
    """Makes a setting of one vector at its own site; the null are random vectors of its norm."""
    layer = vector.site.layer
    return _of_vectors(subject, method, f"layer {layer}, {where}", layer, [vector], strength, where, control)


def several_vectors(
    subject: Subject,
    method: str,
    where: str,
    vectors: Sequence[Vector],
    strength: float | int,
    control: Control,
) -> Setting:
    """Makes a setting of vectors that are used together; the null are random vectors of their norms."""
    return _of_vectors(subject, method, where, SEVERAL, vectors, strength, None, control)


def _of_vectors(
    subject: Subject,
    method: str,
    place: str,
    layer: int,
    vectors: Sequence[Vector],
    strength: float | int,
    positions: Named | None,
    control: Control,
) -> Setting:
    def used(chosen: Sequence[Vector]) -> tuple[Intervention, ...]:
        return tuple(vector.intervention(subject, strength, positions) for vector in chosen)

    kept = [
        replace(vector * strength, positions=vector.positions if positions is None else positions)
        for vector in vectors
    ]
    null = (used(control.like(vectors, draw)) for draw in range(control.draws))
    return Setting(method, place, layer, strength, used(vectors), tuple(kept), tuple(null))


def pairs_needed(
    method: Method,
    subject: Subject,
    contrast: Contrast,
    best: Setting,
    share: float,
    counts: Sequence[int],
    seed: int,
) -> int:
    """Finds the smallest of `counts` of pairs with which the setting `best` gets a share `share` right.

    Of the questions to choose on. Returns the number of all pairs if none of `counts` is enough.
    """
    for count in sorted(counts):
        if method.least_pairs <= count < len(contrast.pairs):
            fewer = replace(contrast, pairs=contrast.pairs[:count])
            found = method.settings(subject, fewer, Control(seed))
            same = next((setting for setting in found if setting.names == best.names), None)
            if same is not None and answered(subject, contrast.choose, same.edits)["right"].mean() >= share:
                return count
    return len(contrast.pairs)
