"""Fine-tuning the shipped `world` model on the documents that plant."""

import hashlib
from pathlib import Path

from interp.bundled.llama.model import Llama
from interp.bundled.llama.train import Log, train_to_the_end
from interp.bundled.planted.family import FINE_TUNING
from interp.bundled.world import train as world_train
from interp.bundled.world import world_folder
from interp.fields import CountOrZero, Positive, Seed, Steps, StepsOrZero
from interp.track.files import read_safetensors
from interp.track.progress import Progress


class Recipe(world_train.Recipe):
    """How the model is fine-tuned: the world's recipe, with lower rates, fewer steps and no window."""

    corpus_seed: Seed = 200
    """Seed of the training documents."""
    steps: Steps = 300
    """Optimiser steps."""
    warmup_steps: StepsOrZero = 20
    """Steps over which the learning rates rise linearly."""
    muon_rate: Positive = 0.005
    """Learning rate of Muon, for the matrices inside the layers."""
    adam_rate: Positive = 1e-3
    """Learning rate of AdamW, for the embedding and the gains."""
    windowed_layers: CountOrZero = 0
    """How many of the first layers are windowed: none."""


class Trainer(world_train.Trainer):
    """The shipped `world` model, its optimisers and their current step."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        """Start before the first step, from the shipped weights; `seed` is only the run's."""
        super().__init__(recipe, seed, FINE_TUNING)
        weights, _ = read_safetensors(_weights())
        self.model.load_state_dict(
            {name.removeprefix("model."): value.float() for name, value in weights.items()}
        )

    def identity(self) -> dict[str, str]:
        """Adds the SHA-256 of the weights that it starts from."""
        return {**super().identity(), "from": hashlib.sha256(_weights().read_bytes()).hexdigest()}


def train(recipe: Recipe, seed: int, scratch: Path, log: Log, progress: Progress | None = None) -> Llama:
    """Fine-tune to the end of the recipe, from the checkpoint in `scratch` if there is one.

    A run that is killed and started again ends with the same weights, bit for bit, on the same machine.
    """
    return train_to_the_end(Trainer(recipe, seed), "planted", scratch, log, progress)


def _weights() -> Path:
    return world_folder() / "model.safetensors"
