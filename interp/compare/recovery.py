"""Measures how well a dictionary recovers planted features: their directions, and their presence."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.compare.f1 import best_f1_table
from interp.statistics.auroc import auroc_table
from interp.toys.geometry import represented
from saes.config import SaeTraining
from saes.cosines import nearest_cosines, random_unit_vectors
from saes.fit import fit
from saes.planted import PlantedFeatures

HELD_OUT = 1_000_000  # added to a seed for activations that no SAE was trained on
NO_STEP = 1e-12  # a learning rate that leaves weights unchanged
FOUND = 0.9
"""A feature counts as found if a latent's decoder row has at least this cosine with it."""


@dataclass(frozen=True)
class Recovery:
    """What a dictionary recovered.

    `cosine` is each planted feature's cosine with the nearest active latent's decoder row, `latent_cosine`
    each active latent's with the nearest planted feature. `f1` and `auroc` say how well the nearest latent
    detects the feature's presence. `l0` is the mean number of active latents, `true_l0` that of features.
    """

    cosine: Float[Tensor, " feature"]
    latent_cosine: Float[Tensor, " active"]
    f1: Float[Tensor, " feature"]
    auroc: Float[Tensor, " feature"]
    l0: float
    true_l0: float

    @property
    def recall(self) -> float:
        """The mean max cosine of the planted features: whether each was found."""
        return float(self.cosine.mean())

    @property
    def precision(self) -> float:
        """The mean max cosine of the active latents: whether each is a planted feature."""
        return float(self.latent_cosine.mean())

    @property
    def found(self) -> float:
        """The share of the planted features that have a latent with a cosine of at least `FOUND`."""
        return float((self.cosine >= FOUND).double().mean())

    def figures(self) -> dict[str, float]:
        """Returns all measures by name: means over the features, and the numbers of active latents."""
        return {
            "recall": self.recall,
            "precision": self.precision,
            "found": self.found,
            "f1": float(self.f1.nanmean()),
            "auroc": float(self.auroc.nanmean()),
            "l0": self.l0,
            "true_l0": self.true_l0,
            "active": len(self.latent_cosine),
        }


def recovery(
    directions: Float[Tensor, "feature d_in"],
    features: Float[Tensor, "token feature"],
    decoder: Float[Tensor, "latent d_in"],
    latents: Float[Tensor, "token latent"],
) -> Recovery:
    """Compares a dictionary with planted features on tokens that it was not trained on.

    Latents that never fire on these tokens count as dead and are left out; if none fires, all is NaN. A
    feature's latent is the one with the nearest decoder row; its threshold for presence is chosen on the
    first half of the tokens, and F1 and AUROC are measured on the second.

    Args:
        directions: Planted directions of any length.
        features: The features' values; a feature is present if its value is above 0.
        decoder: Decoder rows of the dictionary.
        latents: Its latents' activations on the tokens.
    """
    active = (latents != 0).any(0)
    decoder, latents = decoder[active], latents[:, active]
    present = features > 0
    cosine, place = nearest_cosines(directions, decoder)
    if not bool(active.any()):
        return Recovery(cosine, cosine[:0], cosine, cosine, 0.0, _l0(features))
    half = len(features) // 2
    chosen, measured = latents[:half, place], latents[half:, place]
    said = measured >= best_f1_table(chosen, present[:half])[1].diagonal()
    there = present[half:]
    f1 = 2 * (said & there).sum(0).double() / (said.sum(0) + there.sum(0))
    auroc = auroc_table(measured, there).diagonal()
    return Recovery(cosine, nearest_cosines(decoder, directions)[0], f1, auroc, _l0(latents), _l0(features))


class PlantedTruth:
    """Planted features that dictionaries are trained on, and compared with on other activations.

    Only directions of a length of at least 0.5 count as planted (`interp.toys.geometry.represented`).

    Args:
        directions: A row for each feature.
        density: Probability that a feature is present (not 0).
        seed: Seed of the activations, and of the random directions.
        buffer_tokens: Activations in an SAE's training buffer.
        tokens: Held-out activations on which a dictionary is tested.
    """

    def __init__(
        self,
        directions: Float[Tensor, "feature d_in"],
        density: float | int,
        *,
        seed: int,
        buffer_tokens: int = 32768,
        tokens: int = 16384,
    ) -> None:
        self._training = PlantedFeatures(directions, density, seed=seed, buffer_tokens=buffer_tokens)
        held_out = PlantedFeatures(directions, density, seed=seed + HELD_OUT, buffer_tokens=tokens)
        values, shown, self._seed = held_out.features(0), represented(directions), seed
        self._activations = values @ directions
        self.directions, self._values = directions[shown], values[:, shown]

    def trained(self, config: SaeTraining) -> Recovery:
        """Trains an SAE on the features' activations, and measures what it recovers."""
        trained = fit(config, self._training).sae
        with torch.no_grad():
            latents = trained.encode(self._activations)
        return recovery(self.directions, self._values, trained.W_dec.detach().float(), latents.float())

    def untrained(self, config: SaeTraining) -> Recovery:
        """Measures an SAE after one step of size zero: scaled and centred, with its initial directions."""
        changed = {"training_tokens": config.batch_tokens, "learning_rate": NO_STEP, "warm_up_steps": 0}
        return self.trained(config.model_copy(update=changed))

    def random(self, n_latents: int) -> Recovery:
        """Measures what random directions recover, each active where its projection is positive."""
        decoder = random_unit_vectors(n_latents, self.directions.shape[1], self._seed)
        return recovery(self.directions, self._values, decoder, (self._activations @ decoder.T).relu())


def _l0(values: Float[Tensor, "token column"]) -> float:
    return float((values != 0).sum(1).double().mean())
