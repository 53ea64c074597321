"""Populations: kinds of feature that are compared with one another, each from one or several spaces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from interp.descriptions.sample import sample_active
from interp.errors import UserError
from interp.features.directions import Directions, random_directions
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.mining.exemplars import Exemplars
from interp.subject.site import Site
from interp.subject.subject import Subject
from saes.load import Latents

NEURONS, LATENTS, PRINCIPAL, RANDOM = "neurons", "latents", "principal directions", "random directions"

Which = Literal["same_layer", "all"]
PopulationKind = Literal["neuron", "latent", "direction", "random"]


@dataclass(frozen=True)
class Population:
    """One kind of feature; `note` says in plain words which."""

    name: str
    kind: PopulationKind
    spaces: tuple[ReadableFeatures, ...]
    note: str

    @property
    def signed(self) -> bool:
        """Whether a negative polarity is a feature, too."""
        return any(space.signed for space in self.spaces)

    @property
    def total(self) -> int:
        """The number of features; each polarity of signed ones counts."""
        return sum(space.n_features * (2 if space.signed else 1) for space in self.spaces)


def neuron_population(subject: Subject, which: Which, sites: Sequence[Site]) -> Population:
    """Makes the population of MLP neurons of all layers, or of the layers of the SAEs' sites."""
    layers = range(subject.n_layers) if which == "all" else sorted({site.layer for site in sites})
    said = "all layers" if which == "all" else f"layer {', '.join(map(str, layers))}"
    spaces = tuple(MlpNeurons(subject, layer) for layer in layers)
    return Population(NEURONS, "neuron", spaces, f"MLP neurons of {said}, either sign a feature")


def latent_populations(saes: Sequence[Latents]) -> list[Population]:
    """Makes a population of the latents of each SAE, called "latents" if there is only one SAE.

    Raises:
        UserError: there is none, or two have one name.
    """
    names = [sae.name for sae in saes]
    if not saes or len(set(names)) < len(names):
        raise UserError(
            f"the SAEs need distinct names, not {', '.join(names) or 'none at all'}",
            "saes",
            "give at least one, and each once",
        )
    return [
        Population(
            LATENTS if len(saes) == 1 else f"{LATENTS} of {sae.name.removeprefix('sae.')}",
            "latent",
            (sae,),
            f"{sae.n_features} latents of a dictionary that reads {sae.site}",
        )
        for sae in saes
    ]


def random_population(subject: Subject, saes: Sequence[Latents], seed: int) -> Population:
    """Makes, at each site of an SAE, as many random directions as the widest SAE there has latents."""
    widths: dict[Site, int] = {}
    for sae in saes:
        widths[sae.site] = max(widths.get(sae.site, 0), sae.n_features)
    spaces = tuple(random_directions(subject, site, width, seed) for site, width in widths.items())
    said = ", ".join(f"{width} at {site}" for site, width in widths.items())
    return Population(RANDOM, "random", spaces, f"random directions, {said}, either sign a feature")


def principal_population(directions: Sequence[Directions]) -> Population:
    """Makes the population of principal directions that were found before."""
    said = ", ".join(f"{one.n_features} at {one.site}" for one in directions)
    note = f"principal directions of the activations, {said}, either sign a feature"
    return Population(PRINCIPAL, "direction", tuple(directions), note)


def sample_populations(
    populations: Sequence[Population], explain: Mapping[str, Exemplars], n: int | None, seed: int
) -> dict[str, list[FeatureRef]]:
    """Draws `n` features of each population, or all if fewer are ever active.

    With `n` None all active latents are taken, and of every other population as many as of the SAE with the
    most. `explain` are the exemplars of the explain split, by space.
    """
    chosen: dict[str, list[FeatureRef]] = {}
    if n is None:
        for population in populations:
            if population.kind == "latent":
                chosen[population.name] = sample_active(population.spaces, explain, None, seed)
        n = max(map(len, chosen.values()))
    for salt, population in enumerate(populations):
        if population.name not in chosen:
            chosen[population.name] = sample_active(population.spaces, explain, n, [seed, salt])
    return {population.name: chosen[population.name] for population in populations}
