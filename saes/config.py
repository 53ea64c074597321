"""How an SAE is trained: every number, with its unit."""

from typing import Literal

from pydantic import model_validator

from interp.document import Split
from interp.fields import (
    Extent,
    Flag,
    Fraction,
    NonEmpty,
    Positive,
    Section,
    Seed,
    Several,
    Steps,
    StepsOrZero,
    Tokens,
)
from saes.architecture import Architecture, TopK


class SaeTraining(Section):
    """Settings of one training run. The defaults suit the bundled `world` (half a minute)."""

    architecture: Architecture = TopK()
    """Which SAE, with its sparsity settings: `{kind: topk, k: 16}`."""
    n_latents: Extent = 1024
    """Latents of the dictionary."""
    training_tokens: Tokens = 327680
    """Activations the SAE sees; a smaller corpus is read several times, in another order each time."""
    batch_tokens: Extent = 1024
    """Activations in a training step."""
    buffer_tokens: Extent = 65536
    """Activations held in memory and shuffled together."""
    context_size: Several = 128
    """Tokens the subject sees at once, the beginning-of-sequence token included."""
    splits: NonEmpty[Split] = ("explain",)
    """Document splits to train on; what an SAE was trained on cannot evaluate it."""
    learning_rate: Positive = 2e-3
    """Peak step size of Adam, for activations scaled to a mean norm of sqrt(d_in)."""
    warm_up_steps: StepsOrZero = 20
    """Steps over which the learning rate grows linearly from near 0."""
    decay_fraction: Fraction = 0.5
    """Last part of the steps, over which the learning rate falls linearly to 0."""
    dead_after_tokens: Tokens = 65536
    """A latent silent for this many training tokens counts as dead and gets the dead latents' loss."""
    scale_input: Flag = True
    """Scale activations to a mean norm of sqrt(d_in) while training; the saved weights undo it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Float type of the weights."""
    seed: Seed = 0
    """Seeds the weights, the order of the documents and every shuffle: same seed, same bits."""
    log_every_steps: Steps = 10
    """Steps between two logged points."""
    evaluate_every_steps: StepsOrZero = 100
    """Steps between two measurements of the cross-entropy recovered; 0 for none."""
    checkpoint_every_steps: StepsOrZero = 50
    """Steps between two checkpoints; 0 for none."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> "SaeTraining":
        if self.buffer_tokens < self.batch_tokens:
            raise ValueError(f"buffer_tokens ({self.buffer_tokens}) must hold a batch ({self.batch_tokens})")
        if self.training_tokens < self.batch_tokens:
            raise ValueError(
                f"training_tokens ({self.training_tokens}) must hold a batch ({self.batch_tokens})"
            )
        k = getattr(self.architecture, "k", None) or 1
        if k > self.n_latents:
            raise ValueError(f"architecture.k ({k}) must not exceed n_latents ({self.n_latents})")
        return self

    @property
    def n_steps(self) -> int:
        """Training steps."""
        return self.training_tokens // self.batch_tokens
