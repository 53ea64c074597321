"""Training the `pydoc` model: its recipe, batches and loss."""

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor

from interp.bundled.llama import recipe as llama_recipe
from interp.bundled.llama import train as llama_train
from interp.bundled.llama.model import Llama, ModelSize, attention_masks
from interp.bundled.llama.muon import Muon
from interp.bundled.llama.train import Log, train_to_the_end
from interp.bundled.pydoc.packing import Packing
from interp.bundled.pydoc.texts import fingerprint
from interp.cost import MemoryPart, Stage
from interp.fields import Count, Extent, Fraction, Section, Several, Steps, StepsOrZero
from interp.track.progress import Progress


class Size(Section):
    """The size of the model."""

    d_vocab: Extent = Field(2560, ge=258)
    """Tokens of the vocabulary: two special ones, the 256 bytes, and merges."""
    n_layers: Count = 6
    """Layers."""
    d_model: Extent = 160
    """Width of the residual stream."""
    n_heads: Count = 5
    """Attention heads of a layer; their number divides the width into even parts."""
    d_mlp: Extent = 448
    """Gated neurons of a layer."""
    n_ctx: Extent = Field(256, ge=2)
    """Positions."""

    def shape(self) -> ModelSize:
        """The size in the form that the architecture takes."""
        return ModelSize(**self.model_dump())


class Recipe(llama_recipe.Recipe):
    """How the model is trained."""

    steps: Steps = 760
    """Optimiser steps."""
    rows: Extent = 8
    """Rows per step."""
    row_length: Several = 256
    """Tokens per row; documents are packed and do not see each other."""
    warmup_steps: StepsOrZero = 50
    """Steps over which the learning rates rise linearly."""
    decay_from: Fraction = 0.53
    """Share of the steps after which the learning rates fall linearly."""
    threads: Count = 1
    """Processor threads; another number rounds differently, so the weights differ in the last bits."""
    size: Size = Size()
    """The size of the model."""

    def stage(self) -> Stage:
        """Memory of training: a step's activations and logits; weights, gradients and two moments."""
        size, tokens = self.size, self.rows * self.row_length
        layer = 4 * size.d_model**2 + 3 * size.d_model * size.d_mlp
        weights = 2 * size.d_vocab * size.d_model + size.n_layers * layer
        width = 2 * size.d_vocab + size.n_layers * (6 * size.d_model + 4 * size.d_mlp)
        parts = (
            MemoryPart("activations of a step", 4 * tokens * width, "recipe.rows, row_length or size"),
            MemoryPart("weights, gradients, moments", 16 * weights, "recipe.size"),
        )
        return Stage("train the model", parts)


class Trainer(llama_train.Trainer):
    """The model, its optimisers and their current step.

    `documents` are the training documents' token ids, without special tokens.
    """

    recipe: Recipe

    def __init__(self, recipe: Recipe, seed: int, documents: Sequence[Sequence[int]]) -> None:
        """Start before the first step; `seed` decides the initial weights and the order of the documents."""
        model = Llama(recipe.size.shape(), seed)
        muon = Muon(model.hidden_matrices(), lr=recipe.muon_rate, weight_decay=recipe.muon_decay)
        super().__init__(recipe, seed, model, muon)
        self.packing = Packing(documents, seed, recipe.rows, recipe.row_length)

    def identity(self) -> dict[str, str]:
        """Adds the text's fingerprint; it varies by Python version."""
        return {**super().identity(), "text": fingerprint("training")}

    def measure(self) -> dict[str, Tensor]:
        """The mean cross-entropy of this step's rows, in single precision: every token counts alike."""
        batch = self.packing.batch(self.step).to(self.device)
        mask, _ = attention_masks(batch.documents, window=1)
        logits, neuron_size = self.model(batch.tokens, [mask] * self.model.shape.n_layers)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
        right = (logits.argmax(-1) == batch.targets).float().mean()
        return {"loss": loss, "neuron_size": neuron_size, "right": right}

    def metrics(self, measured: dict[str, Tensor]) -> dict[str, float]:
        """Loss, next-token accuracy and the size of the neurons, on the step's own batch."""
        return {
            "pydoc/training_cross_entropy": measured["loss"].item(),
            "pydoc/training_accuracy": measured["right"].item(),
            "pydoc/mean_absolute_neuron": measured["neuron_size"].item(),
        }


def train(
    recipe: Recipe,
    seed: int,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    scratch: Path,
    log: Log,
    progress: Progress | None = None,
) -> Llama:
    """Train on `texts` to the end of the recipe, from the checkpoint in `scratch` if there is one.

    A run that is killed and started again ends with the same weights, bit for bit, on the same machine.
    """
    documents = [encoded.ids for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    return train_to_the_end(Trainer(recipe, seed, documents), "pydoc", scratch, log, progress)
