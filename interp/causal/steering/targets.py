"""What each concept is steered with: its best latent, vectors, neurons and controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.causal.selection import by_attribution, by_concept
from interp.causal.steering.concepts import WORLD, Concepts
from interp.causal.steering.difference_in_means import difference_in_means
from interp.causal.steering.prompts import questions_about
from interp.corpus.batches import batches
from interp.document import Corpus
from interp.errors import UserError
from interp.features.directions import random_directions
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace
from interp.mining.mined import MinedSpaces
from interp.subject.subject import Subject
from interp.track.files import read_safetensors, write_json, write_safetensors
from interp.track.progress import Progress, silent
from interp.track.records import read_written

SAMPLE_TOKENS = 512
ATTRIBUTED = 32  # positions in text at which a concept's words are attributed to neurons

Number = float | int


@dataclass(frozen=True, eq=False)
class SteeringTarget:
    """A concept, and what it can be steered with.

    `latent` best tells tokens with the concept from others; `largest` is its maximum on the explain split,
    and `unit` the norm of what it then adds to the activation. `difference` [width] is the difference in
    means, `neurons` are a set that represents the concept, and `neuron_largest` [neuron] their extremes, with
    sign. `random_latents` are ids, `random_directions` [draw, width]; each draw is a control of its own.
    `picked_by` has, by key, the value that the latent (AUROC) and the neurons were picked for.
    """

    concept: str
    latent: FeatureRef
    largest: float
    unit: float
    difference: Float[Tensor, " width"]
    neurons: Sequence[FeatureRef]
    neuron_largest: Float[Tensor, " neuron"]
    random_latents: Sequence[int]
    random_directions: Float[Tensor, "draw width"]
    picked_by: Mapping[str, float] = field(default_factory=dict)


def find_targets(
    subject: Subject,
    corpus: Corpus,
    mined: MinedSpaces,
    latents: FeatureSpace,
    neurons: Sequence[FeatureSpace],
    concepts: Sequence[str],
    *,
    n_neurons: int = 10,
    neurons_by: Literal["attribution", "auroc"] = "attribution",
    controls: int = 1,
    seed: int = 0,
    known: Concepts = WORLD,
    progress: Progress | None = None,
) -> list[SteeringTarget]:
    """Finds, for each concept, its best latent, what else it can be steered with, and random controls.

    `n_neurons` are those to which the concept's words are attributed most (explain split), or that tell it
    best (select split); none if 0. `mined` is of the latents and of all spaces of neurons. `known` says which
    words carry the concepts.

    Raises:
        UserError: the corpus has no such label, too few tokens carry it, the latent is never active, or there
            are fewer living latents than controls.
    """
    progress = progress or silent()
    directions = difference_in_means(subject, latents.site, corpus, concepts, progress=progress)
    sample = _activations(subject, corpus, latents)
    statistics = {space.name: mined[space.name].statistics() for space in neurons}
    found = mined[latents.name].exemplars["explain"]
    alive = (found.top_value[: latents.n_features, 0] > 0).nonzero()[:, 0].tolist()
    targets = []
    with progress.task("picking neurons", total=len(concepts), unit="concepts") as advance:
        for number, concept in enumerate(concepts):
            ((latent, auroc),) = by_concept([latents], mined, corpus, concept, 1)
            if not n_neurons:
                picked = []
            elif neurons_by == "auroc":
                picked = by_concept(neurons, mined, corpus, concept, n_neurons)
            else:
                asked = questions_about(corpus, concept, ATTRIBUTED, concepts=known)
                picked = by_attribution(subject, neurons, asked, statistics, n_neurons)
            own = seed * len(concepts) + number
            largest = largest_of(mined, latent)
            if not largest > 0:
                raise UserError(f"{latent.key} is never active", corpus.name, "use more text or another SAE")
            targets.append(
                SteeringTarget(
                    concept,
                    latent,
                    largest,
                    added_norm(latents, latent.feature_id, largest, sample),
                    directions[number],
                    [neuron for neuron, _ in picked],
                    torch.tensor([neuron.polarity * largest_of(mined, neuron) for neuron, _ in picked]),
                    random_latents(alive, latent.feature_id, controls, own),
                    random_directions(subject, latents.site, controls, own).vectors.cpu().float(),
                    {feature.key: value for feature, value in [(latent, auroc), *picked]},
                )
            )
            advance(1)
    return targets


def save_targets(folder: Path, targets: Sequence[SteeringTarget]) -> None:
    """Writes targets.json and targets.safetensors."""
    write_json(
        folder / "targets.json",
        {
            target.concept: {
                "latent": target.latent.key,
                "largest": target.largest,
                "unit": target.unit,
                "neurons": [neuron.key for neuron in target.neurons],
                "random_latents": list(target.random_latents),
                "values": dict(target.picked_by),
            }
            for target in targets
        },
    )
    tensors: dict[str, Tensor] = {}
    for target in targets:
        tensors[f"{target.concept}.difference"] = target.difference
        tensors[f"{target.concept}.neuron_largest"] = target.neuron_largest
        tensors[f"{target.concept}.random_directions"] = target.random_directions
    write_safetensors(folder / "targets.safetensors", tensors)


def read_targets(folder: Path, spaces: Sequence[FeatureSpace]) -> list[SteeringTarget]:
    """Reads what `save_targets` wrote.

    Raises:
        UserError: a file is missing or damaged, or names a feature of none of the spaces.
    """
    records = read_written(folder / "targets.json")
    tensors, _ = read_safetensors(folder / "targets.safetensors")
    return [
        SteeringTarget(
            concept,
            FeatureRef.parse(one["latent"], spaces),
            one["largest"],
            one["unit"],
            tensors[f"{concept}.difference"],
            [FeatureRef.parse(key, spaces) for key in one["neurons"]],
            tensors[f"{concept}.neuron_largest"],
            one["random_latents"],
            tensors[f"{concept}.random_directions"],
            one["values"],
        )
        for concept, one in records.items()
    ]


def largest_of(mined: MinedSpaces, feature: FeatureRef) -> float:
    """The size of a feature's largest activation on the explain split, in its polarity.

    `Clamp(latents, latent, 10 * largest_of(mined, feature))` holds a latent at ten times its maximum.

    Raises:
        UserError: its space was not mined.
    """
    found = mined[feature.space.name].exemplars["explain"]
    return float(found.top_value[found.line(feature.feature_id, 1 if feature.polarity > 0 else -1), 0])


def added_norm(
    space: FeatureSpace, feature_id: int, amount: Number, activation: Float[Tensor, "token width"]
) -> float:
    """The mean norm of the change when a feature is raised by `amount` on these activations.

    For a latent without run-time normalisation: `amount` times the norm of its decoder row.
    """
    ids = torch.tensor([feature_id])
    value = space.encode(activation)[..., [feature_id]] + amount
    change = space.write(activation, ids, value) - activation
    return float(change.float().norm(dim=-1).mean())


def random_latents(alive: Sequence[int], chosen: int, count: int, seed: int) -> list[int]:
    """Draws random latents that are alive and not the chosen one, without replacement.

    Raises:
        UserError: there are not enough.
    """
    free = [latent for latent in alive if latent != chosen]
    if len(free) < count:
        raise UserError(f"only {len(free)} other latents are alive", "controls", "ask for fewer controls")
    order = torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))[:count]
    return [free[place] for place in order.tolist()]


def _activations(subject: Subject, corpus: Corpus, space: FeatureSpace) -> Float[Tensor, "token width"]:
    """Reads activations of the first counting tokens of the corpus at the space's site."""
    first = next(batches(corpus, range(64), subject.row_layout, 64, SAMPLE_TOKENS))
    tokens, mask = torch.from_numpy(first.tokens), torch.from_numpy(first.mask)
    read = subject.read(tokens, [space.site], mask)[space.site]
    return read[torch.from_numpy(first.counts).to(read.device)]
