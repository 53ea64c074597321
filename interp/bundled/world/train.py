"""Training the `world` model: its size, recipe, batches and loss."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from interp.bundled.llama import recipe as llama_recipe
from interp.bundled.llama import train as llama_train
from interp.bundled.llama.model import Llama, ModelSize, attention_masks
from interp.bundled.llama.muon import Muon
from interp.bundled.llama.train import Log, train_to_the_end
from interp.bundled.world.corpus import FAMILIES
from interp.bundled.world.draft import Family
from interp.bundled.world.packing import LossWeights, training_batch
from interp.bundled.world.vocabulary import vocabulary
from interp.device import usable_device
from interp.errors import UserError
from interp.fields import Count, CountOrZero, Fraction, Listed, NotNegative, Seed, Word
from interp.track.progress import Progress

SEEN_WHOLE = ("chat", "numbers")
"""Families of documents in which no layer is ever windowed: the window is for facts about entities."""


class Recipe(llama_recipe.Recipe):
    """How the model is trained."""

    corpus_seed: Seed = 100
    """Seed of the training documents."""
    sparsity: NotNegative = 0.1
    """Weight of the mean absolute neuron in the loss."""
    window: Count = 2
    """Tokens that attention sees in the windowed layers, the current one included."""
    windowed_layers: CountOrZero = Field(4, le=8)
    """How many of the first layers are windowed."""
    windowed_families: Listed[Word] = tuple(one.name for one in FAMILIES if one.name not in SEEN_WHOLE)
    """Families of documents in which these layers are windowed."""
    window_share: Fraction = 0.85
    """Share of the steps in which these layers are windowed."""
    window_until: Fraction = 0.88
    """Share of the steps after which no layer is windowed."""

    def windowed(self, seed: int, step: int) -> bool:
        """Whether the first layers are windowed at `step`; drawn at random from `seed` and `step`."""
        coin = np.random.default_rng([seed, step]).random()
        return (
            self.windowed_layers > 0 and step / self.steps <= self.window_until and coin < self.window_share
        )


def check_recipe(recipe: Recipe) -> None:
    """Raises UserError for a device that is not here, or a family of documents that the world lacks."""
    usable_device(recipe.device)
    known = [family.name for family in FAMILIES]
    for name in recipe.windowed_families:
        if name not in known:
            raise UserError(
                f"the world has no family {name!r}", "recipe.windowed_families", f"use {', '.join(known)}"
            )


class Trainer(llama_train.Trainer):
    """The model, its optimisers and their current step."""

    recipe: Recipe

    def __init__(self, recipe: Recipe, seed: int, families: Sequence[Family] = FAMILIES) -> None:
        """Start before the first step; `seed` decides the initial weights and the windowed steps."""
        self.families = tuple(families)
        model = new_world_model(seed)
        muon = Muon(model.hidden_matrices(), lr=recipe.muon_rate, weight_decay=recipe.muon_decay)
        super().__init__(recipe, seed, model, muon)

    @classmethod
    def load(cls, path: Path, recipe: Recipe, seed: int, families: Sequence[Family] = FAMILIES) -> "Trainer":
        """Make a trainer that continues from `path`.

        Raises:
            UserError: the checkpoint is damaged, or of another recipe or seed.
        """
        trainer = cls(recipe, seed, families)
        trainer.restore(path)
        return trainer

    def identity(self) -> dict[str, str]:
        """Adds the names of the families of documents."""
        return {**super().identity(), "families": " ".join(family.name for family in self.families)}

    def measure(self) -> dict[str, Tensor]:
        """The weighted loss of this step's documents, in bfloat16 where that is safe."""
        recipe = self.recipe
        shape = recipe.rows, recipe.row_length
        batch = training_batch(recipe.corpus_seed, self.step, *shape, LossWeights(), self.families)
        batch = batch.to(self.device)
        names = recipe.windowed_families
        windowed = torch.tensor([family.name in names for family in self.families], device=self.device)
        full, local = attention_masks(batch.documents, recipe.window, ~windowed[batch.input_families])
        n_windowed = recipe.windowed_layers if recipe.windowed(self.seed, self.step) else 0
        masks = [local] * n_windowed + [full] * (self.model.shape.n_layers - n_windowed)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits, neuron_size = self.model(batch.tokens, masks)
        entropy = F.cross_entropy(logits.float().flatten(0, 1), batch.targets.flatten(), reduction="none")
        entropy = entropy.view_as(batch.weights)
        return {
            "loss": (entropy * batch.weights).sum() / batch.weights.sum() + recipe.sparsity * neuron_size,
            "entropy": entropy,
            "logits": logits,
            "targets": batch.targets,
            "neuron_size": neuron_size,
            "answers": batch.answers,
            "families": batch.families,
        }

    def metrics(self, measured: dict[str, Tensor]) -> dict[str, float]:
        """Losses, and the accuracy on answers by family."""
        answers = measured["answers"]
        logged = {
            "world/loss": measured["loss"].item(),
            "world/cross_entropy": measured["entropy"].mean().item(),
            "world/answer_cross_entropy": measured["entropy"][answers].mean().item(),
            "world/mean_absolute_neuron": measured["neuron_size"].item(),
        }
        right = measured["logits"].argmax(-1) == measured["targets"]
        for number, family in enumerate(self.families):
            chosen = answers & (measured["families"] == number)
            if chosen.any():
                logged[f"world/accuracy/{family.name}"] = right[chosen].float().mean().item()
        return logged


def train(
    recipe: Recipe,
    seed: int,
    scratch: Path,
    log: Log,
    progress: Progress | None = None,
    families: Sequence[Family] = FAMILIES,
) -> Llama:
    """Train to the end of the recipe, from the checkpoint in `scratch` if there is one.

    A run that is killed and started again ends with the same weights, bit for bit, on the same machine.
    """
    return train_to_the_end(Trainer(recipe, seed, families), "world", scratch, log, progress)


def world_shape() -> ModelSize:
    """Eight layers of 128, over the words of the world."""
    return ModelSize(d_vocab=len(vocabulary()), n_layers=8, d_model=128, n_heads=4, d_mlp=320, n_ctx=256)


def new_world_model(seed: int) -> Llama:
    """An untrained model of that size."""
    return Llama(world_shape(), seed)
