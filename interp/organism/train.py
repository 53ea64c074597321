"""Training the `world` model: seeded, resumable to the bit, learning rate by step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from interp.errors import UserError
from interp.organism.corpus import FAMILIES
from interp.organism.model import Shape, WorldModel, attention_masks
from interp.organism.packing import LossWeights, training_batch
from interp.organism.vocabulary import vocabulary
from interp.track.files import read_safetensors, write_safetensors
from interp.track.progress import Progress, silent

Log = Callable[[dict[str, float], int], None]


class Recipe(BaseModel):
    """How the model is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    corpus_seed: int = Field(default=100, ge=0)
    """Seed of the training documents."""
    steps: int = Field(default=1600, gt=0)
    """Optimiser steps."""
    rows: int = Field(default=32, gt=0)
    """Rows per step."""
    row_length: int = Field(default=128, gt=1, le=256)
    """Tokens per row; documents are packed and do not see each other."""
    warmup_steps: int = Field(default=80, ge=0)
    """Steps over which the learning rates rise linearly."""
    decay_from: float = Field(default=0.55, ge=0, le=1)
    """Share of the steps after which the learning rates fall linearly."""
    muon_rate: float = Field(default=0.02, gt=0)
    """Learning rate of Muon, for the matrices inside the layers."""
    muon_decay: float = Field(default=0.1, ge=0)
    """Weight decay of Muon."""
    adam_rate: float = Field(default=3e-3, gt=0)
    """Learning rate of AdamW, for the embedding and the gains."""
    adam_decay: float = Field(default=0.02, ge=0)
    """Weight decay of AdamW."""
    sparsity: float = Field(default=0.1, ge=0)
    """Weight of the mean absolute neuron in the loss."""
    window: int = Field(default=2, gt=0)
    """Tokens that the windowed layers see, the current one included."""
    windowed_layers: int = Field(default=4, ge=0, le=8)
    """How many of the first layers are windowed."""
    window_share: float = Field(default=0.85, ge=0, le=1)
    """Share of the steps in which they are."""
    window_until: float = Field(default=0.88, ge=0, le=1)
    """Share of the steps after which no layer is windowed any more."""
    threads: int = Field(default=2, gt=0)
    """Processor threads; another number rounds differently, so the weights differ in the last bits."""
    checkpoint_every: int = Field(default=100, gt=0)
    """Steps between checkpoints."""
    log_every: int = Field(default=20, gt=0)
    """Steps between logged metrics."""

    def rate_at(self, step: int) -> float:
        """The factor of the learning rates at `step`: warm-up, plateau, decay to 2%."""
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        done = step / self.steps
        if done < self.decay_from:
            return warmup
        return warmup * max(0.02, (1 - done) / (1 - self.decay_from))

    def windowed(self, seed: int, step: int) -> bool:
        """Whether the first layers are windowed at `step`: a coin that `seed` and `step` decide."""
        coin = np.random.default_rng([seed, step]).random()
        return (
            self.windowed_layers > 0 and step / self.steps <= self.window_until and coin < self.window_share
        )


class Trainer:
    """The model, its optimisers and the step they are at."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        """Start before the first step; `seed` decides the initial weights and the window's coin."""
        self.recipe = recipe
        self.seed = seed
        self.step = 0
        self.model = WorldModel(Shape(d_vocab=len(vocabulary())), seed)
        muon = torch.optim.Muon(
            self.model.hidden_matrices(), lr=recipe.muon_rate, weight_decay=recipe.muon_decay, momentum=0.95
        )
        adam = torch.optim.AdamW(
            self.model.other_parameters(),
            lr=recipe.adam_rate,
            betas=(0.9, 0.98),
            weight_decay=recipe.adam_decay,
        )
        self.optimizers: tuple[tuple[torch.optim.Optimizer, float], ...] = (
            (muon, recipe.muon_rate),
            (adam, recipe.adam_rate),
        )

    def advance(self) -> dict[str, Tensor]:
        """Take one step and return what was measured on its batch before the update."""
        recipe = self.recipe
        factor = recipe.rate_at(self.step)
        for optimizer, rate in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        batch = training_batch(recipe.corpus_seed, self.step, recipe.rows, recipe.row_length, LossWeights())
        full, local = attention_masks(batch.documents, recipe.window)
        n_windowed = recipe.windowed_layers if recipe.windowed(self.seed, self.step) else 0
        masks = [local] * n_windowed + [full] * (self.model.shape.n_layers - n_windowed)
        with torch.autocast("cpu", torch.bfloat16):
            logits, neuron_size = self.model(batch.tokens, masks)
        entropy = F.cross_entropy(logits.float().flatten(0, 1), batch.targets.flatten(), reduction="none")
        entropy = entropy.view_as(batch.weights)
        loss = (entropy * batch.weights).sum() / batch.weights.sum() + recipe.sparsity * neuron_size
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, _ in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {
            "loss": loss.detach(),
            "entropy": entropy.detach(),
            "logits": logits.detach(),
            "targets": batch.targets,
            "neuron_size": neuron_size.detach(),
            "answers": batch.answers,
            "families": batch.families,
        }

    def save(self, path: Path) -> None:
        """Write weights, optimiser state and step to `path`, atomically."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for number, (optimizer, _) in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{number}.{index}.{key}": value for key, value in state.items()}
        metadata = {"step": str(self.step), "seed": str(self.seed), "recipe": self.recipe.model_dump_json()}
        write_safetensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path, recipe: Recipe, seed: int) -> "Trainer":
        """Continue from `path`.

        Raises:
            UserError: the checkpoint is damaged, or of another recipe or seed.
        """
        trainer = cls(recipe, seed)
        tensors, metadata = read_safetensors(path)
        if (metadata["recipe"], metadata["seed"]) != (recipe.model_dump_json(), str(seed)):
            raise UserError(
                "the checkpoint belongs to another recipe or seed",
                str(path),
                "delete it or restore the recipe",
            )
        trainer.step = int(metadata["step"])
        trainer.model.load_state_dict(
            {
                name.removeprefix("model."): value
                for name, value in tensors.items()
                if name.startswith("model.")
            }
        )
        for number, (optimizer, _) in enumerate(trainer.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                kind, _, rest = name.partition(".")
                if kind == "optimizer" and rest.startswith(f"{number}."):
                    _, index, key = rest.split(".")
                    state.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict(
                {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
            )
        return trainer


def train(recipe: Recipe, seed: int, scratch: Path, log: Log, progress: Progress | None = None) -> WorldModel:
    """Train to the end of the recipe, from the checkpoint in `scratch` if there is one.

    A run that is killed and started again ends with the same weights, bit for bit, on the same machine.
    """
    checkpoint = scratch / "checkpoint.safetensors"
    trainer = Trainer.load(checkpoint, recipe, seed) if checkpoint.exists() else Trainer(recipe, seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        what = (
            f"training the world model from step {trainer.step}"
            if trainer.step
            else "training the world model"
        )
        with (progress or silent()).task(what, recipe.steps - trainer.step, "steps") as advance:
            while trainer.step < recipe.steps:
                measured = trainer.advance()
                advance(1, note=f"loss {measured['loss']:.2f}")
                last = trainer.step == recipe.steps
                if last or trainer.step % recipe.log_every == 0:
                    log(metrics(measured), trainer.step * recipe.rows * recipe.row_length)
                if last or trainer.step % recipe.checkpoint_every == 0:
                    trainer.save(checkpoint)
    finally:
        torch.set_num_threads(threads)
    return trainer.model.eval()


def metrics(measured: dict[str, Tensor]) -> dict[str, float]:
    """What is logged of a step: losses, and the accuracy on answers by family."""
    answers = measured["answers"]
    logged = {
        "world/loss": measured["loss"].item(),
        "world/cross_entropy": measured["entropy"].mean().item(),
        "world/answer_cross_entropy": measured["entropy"][answers].mean().item(),
        "world/mean_absolute_neuron": measured["neuron_size"].item(),
    }
    right = measured["logits"].argmax(-1) == measured["targets"]
    for number, family in enumerate(FAMILIES):
        chosen = answers & (measured["families"] == number)
        if chosen.any():
            logged[f"world/accuracy/{family}"] = right[chosen].float().mean().item()
    return logged
