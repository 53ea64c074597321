"""Finding what to steer each concept with, and keeping it in a step's folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from experiments.steering.config import Config
from interp.causal.pick import by_attribution, by_concept
from interp.causal.steering.means import difference_in_means
from interp.causal.steering.methods import Aim, added_norm, largest_of, random_latents
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
from interp.track.progress import Progress
from interp.track.records import read_written

SAMPLE_TOKENS = 512
ATTRIBUTED = 32  # places at which a concept's words are attributed to neurons


def find_aims(
    config: Config,
    subject: Subject,
    corpus: Corpus,
    mined: MinedSpaces,
    latents: FeatureSpace,
    neurons: Sequence[FeatureSpace],
    progress: Progress,
) -> tuple[list[Aim], dict[str, dict[str, float]]]:
    """What each concept is steered with, and by what value every feature in it was picked."""
    concepts, controls = config.concepts, config.controls
    directions = difference_in_means(subject, latents.site, corpus, concepts, progress=progress)
    sample = _activations(subject, corpus, latents)
    found = mined[latents.name].exemplars["explain"]
    alive = (found.top_value[: latents.n_features, 0] > 0).nonzero()[:, 0].tolist()
    aims, values = [], {}
    with progress.task("picking neurons", total=len(concepts), unit="concepts") as advance:
        for number, concept in enumerate(concepts):
            ((latent, auroc),) = by_concept([latents], mined, corpus, concept, 1)
            picked = _neurons(config, subject, corpus, mined, neurons, concept)
            own = config.seed * len(concepts) + number
            largest = largest_of(mined, latent)
            if not largest > 0:
                raise UserError(f"{latent.key} is never active", corpus.name, "use more text or another SAE")
            aims.append(
                Aim(
                    concept,
                    latent,
                    largest,
                    added_norm(latents, latent.feature_id, largest, sample),
                    directions[number],
                    [neuron for neuron, _ in picked],
                    torch.tensor([neuron.polarity * largest_of(mined, neuron) for neuron, _ in picked]),
                    random_latents(alive, latent.feature_id, controls, own),
                    random_directions(subject, latents.site, controls, own).vectors.cpu().float(),
                )
            )
            values[concept] = {feature.key: value for feature, value in [(latent, auroc), *picked]}
            advance(1)
    return aims, values


def _neurons(
    config: Config,
    subject: Subject,
    corpus: Corpus,
    mined: MinedSpaces,
    neurons: Sequence[FeatureSpace],
    concept: str,
) -> list[tuple[FeatureRef, float]]:
    """The set of neurons that stands for a concept."""
    if config.neurons_by == "auroc":
        return by_concept(neurons, mined, corpus, concept, config.neurons)
    statistics = {space.name: mined[space.name].statistics() for space in neurons}
    asked = questions_about(corpus, concept, ATTRIBUTED)
    return by_attribution(subject, neurons, asked, statistics, config.neurons)


def save_aims(folder: Path, aims: Sequence[Aim], values: dict[str, dict[str, float]]) -> None:
    """Writes aims.json and aims.safetensors."""
    write_json(
        folder / "aims.json",
        {
            aim.concept: {
                "latent": aim.latent.key,
                "largest": aim.largest,
                "unit": aim.unit,
                "neurons": [neuron.key for neuron in aim.neurons],
                "random_latents": list(aim.random_latents),
                "values": values[aim.concept],
            }
            for aim in aims
        },
    )
    tensors: dict[str, Tensor] = {}
    for aim in aims:
        tensors[f"{aim.concept}.difference"] = aim.difference
        tensors[f"{aim.concept}.neuron_largest"] = aim.neuron_largest
        tensors[f"{aim.concept}.random_directions"] = aim.random_directions
    write_safetensors(folder / "aims.safetensors", tensors)


def read_aims(folder: Path, spaces: Sequence[FeatureSpace]) -> tuple[list[Aim], dict[str, dict[str, float]]]:
    """Reads what `save_aims` wrote."""
    records, (tensors, _) = read_written(folder / "aims.json"), read_safetensors(folder / "aims.safetensors")
    aims = [
        Aim(
            concept,
            FeatureRef.parse(one["latent"], spaces),
            one["largest"],
            one["unit"],
            tensors[f"{concept}.difference"],
            [FeatureRef.parse(key, spaces) for key in one["neurons"]],
            tensors[f"{concept}.neuron_largest"],
            one["random_latents"],
            tensors[f"{concept}.random_directions"],
        )
        for concept, one in records.items()
    ]
    return aims, {concept: one["values"] for concept, one in records.items()}


def _activations(subject: Subject, corpus: Corpus, space: FeatureSpace) -> Tensor:
    """Activations of the first tokens of the corpus at the space's site [token, width]."""
    first = next(batches(corpus, range(64), subject.frame, 64, SAMPLE_TOKENS))
    read = subject.read(torch.from_numpy(first.tokens), [space.site], torch.from_numpy(first.mask))[
        space.site
    ]
    return read[torch.from_numpy(first.counts).to(read.device)]
