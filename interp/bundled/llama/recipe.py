"""How a small Llama is trained: the settings that all recipes share."""

from pydantic import Field

from interp.cost import MemoryPart, Stage
from interp.fields import (
    Count,
    Device,
    Extent,
    Fraction,
    NotNegative,
    Positive,
    Section,
    Steps,
    StepsOrZero,
)


class Recipe(Section):
    """Batches, learning rates and their schedule."""

    steps: Steps = 1600
    """Optimiser steps."""
    rows: Extent = 32
    """Rows per step."""
    row_length: Count = Field(128, gt=1, le=256)
    """Tokens per row; documents are packed and do not see each other."""
    warmup_steps: StepsOrZero = 80
    """Steps over which the learning rates rise linearly."""
    decay_from: Fraction = 0.55
    """Share of the steps after which the learning rates fall linearly."""
    muon_rate: Positive = 0.02
    """Learning rate of Muon, for the matrices inside the layers."""
    muon_decay: NotNegative = 0.1
    """Weight decay of Muon."""
    adam_rate: Positive = 3e-3
    """Learning rate of AdamW, for the embedding and the gains."""
    adam_decay: NotNegative = 0.02
    """Weight decay of AdamW."""
    device: Device = "cpu"
    """Where the model is trained: cpu, cuda, cuda:1."""
    threads: Count = 2
    """Processor threads; another number rounds differently, so the weights differ in the last bits."""
    checkpoint_every: Steps = 100
    """Steps between checkpoints."""
    log_every: Steps = 20
    """Steps between logged metrics."""

    def stage(self) -> Stage:
        """A lower bound on training's memory: the tokens of a step with 1,000 numbers each."""
        part = MemoryPart("activations of a step", self.rows * self.row_length * 4000, "rows or row_length")
        return Stage("train the model", (part,))

    def rate_at(self, step: int) -> float:
        """The factor of the learning rates at `step`: warm-up, plateau, decay to 2%."""
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        done = step / self.steps
        if done < self.decay_from:
            return warmup
        return warmup * max(0.02, (1 - done) / (1 - self.decay_from))
