"""How a small Llama is trained: what every recipe has."""

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """Batches, learning rates and their schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

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
    device: str = "cpu"
    """Where the model is trained: cpu, cuda, cuda:1."""
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
