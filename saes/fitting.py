"""One dictionary in training: SAELens' trainer, stepped by hand, and its place in a stream of activations."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sae_lens.config import SAETrainerConfig
from sae_lens.registry import get_sae_training_class
from sae_lens.saes.sae import SAEMetadata, TrainingSAE
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from interp.errors import UserError
from saes import sparse
from saes.architecture import TopK, Transcoder
from saes.checkpoint import load_checkpoint, save_checkpoint
from saes.config import SaeTraining
from saes.stream import StreamPosition
from saes.transcoder import TranscoderTrainingSAE

Log = Callable[[dict[str, float], int], None]
"""Takes named numbers and the count of training tokens they belong to."""

Reconstruct = Callable[[Float[Tensor, "token d_in"]], Float[Tensor, "token d_out"]]
Evaluate = Callable[[Reconstruct], dict[str, float]]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Trained:
    """A trained SAE in the units of the subject's activations, and how often each latent fired.

    `sparsity` [latent] is log10 of the firing rate over the last window of training steps.
    """

    sae: TrainingSAE[Any]
    sparsity: Float[Tensor, " latent"]


def build_trainer(
    config: SaeTraining,
    d_in: int,
    device: str = "cpu",
    metadata: dict[str, Any] | None = None,
    d_out: int | None = None,
) -> SAETrainer[Any, Any]:
    """SAELens' trainer around a seeded new SAE; the caller's random state is left as it was.

    `d_out` is the width of what a transcoder predicts.
    """
    shape = {
        "d_in": d_in,
        "d_sae": config.n_latents,
        "dtype": config.dtype,
        "device": device,
        "metadata": SAEMetadata(**(metadata or {})),
    }
    sae_class: Any
    if isinstance(config.architecture, Transcoder):
        sae_config = config.architecture.config({**shape, "d_out": d_out or d_in})
        sae_class = TranscoderTrainingSAE
    else:
        scaling = "expected_average_only_in" if config.scale_input else "none"
        sae_config = config.architecture.config({**shape, "normalize_activations": scaling})
        sae_class, _ = get_sae_training_class(sae_config.architecture())
        if isinstance(config.architecture, TopK) and sparse.available(device, config.dtype):
            sae_class = sparse.SparseTopKTrainingSAE
    with torch.random.fork_rng(devices=None if device.startswith("cuda") else []):
        torch.manual_seed(config.seed)
        sae = sae_class(sae_config)
    warm_up_steps = min(config.warm_up_steps, config.n_steps // 2)
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=config.n_steps * config.batch_tokens,
            train_batch_size_samples=config.batch_tokens,
            lr=config.learning_rate,
            lr_end=config.learning_rate,
            lr_warm_up_steps=warm_up_steps,
            lr_decay_steps=min(int(config.decay_fraction * config.n_steps), config.n_steps - warm_up_steps),
            dead_feature_window=max(1, config.dead_after_tokens // config.batch_tokens),
            device=device,
        ),
        sae,
        iter(()),
    )
    if device.startswith("cuda"):  # one pass over the weights a step, of which there may be a billion
        for group in trainer.optimizer.param_groups:
            group["fused"] = True
    return trainer


@contextmanager
def tensor_cores(device: str) -> Iterator[None]:
    """Within the block a GPU multiplies float32 matrices as TF32, rounded to 11 bits of precision.

    That is several times as fast, and closer than bfloat16; sums are float32. A CPU is left alone.
    """
    before = torch.get_float32_matmul_precision()
    if device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Fitting:
    """A dictionary, its optimiser and how far it has read.

    It takes a stream buffer by buffer (`learn`), each shuffled by a generator of its own and cut into whole
    batches; what is left over is dropped. Its state is that of the trainer and two integers, so a killed run
    continues from `checkpoint` with the same bits: it asks for the buffer at `place.cursor` again.

    `widths` are those of the activation it reads and, for a transcoder, of the one it predicts. `log` gets
    `sae/loss`, `sae/mse` (squared error summed over the width, in scaled units), `sae/explained_variance` (of
    the batch), `sae/l0`, `sae/dead_latents`, `sae/learning_rate`, and what `evaluate` returns.

    Raises:
        UserError: the checkpoint is damaged or belongs to other settings.
    """

    def __init__(
        self,
        config: SaeTraining,
        widths: Sequence[int],
        *,
        device: str = "cpu",
        metadata: dict[str, Any] | None = None,
        checkpoint: Path | None = None,
        log: Log | None = None,
        evaluate: Evaluate | None = None,
    ) -> None:
        self.config = config
        self.place = StreamPosition()
        self.trainer = build_trainer(config, widths[0], device, metadata, widths[-1])
        self._device = device
        self._identity = json.dumps(
            {"config": config.model_dump(mode="json"), "metadata": metadata}, sort_keys=True
        )
        self._checkpoint = checkpoint
        self._log = log
        self._evaluate = evaluate
        self._started = checkpoint is not None and checkpoint.exists()
        if checkpoint is not None and self._started:
            self.place = load_checkpoint(checkpoint, self.trainer, self._identity)

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return bool(self.trainer.n_training_steps >= self.config.n_steps)

    @property
    def tokens_done(self) -> int:
        """Training tokens seen so far."""
        return int(self.trainer.n_training_samples)

    def learn(self, parts: Sequence[Float[Tensor, "token _"]], following: int, advance: Advance) -> None:
        """Trains on what is left of the buffer at `place.cursor`; `following` is the cursor of the next one.

        `parts` is one tensor, or for a transcoder its input and its target.

        Raises:
            UserError: the buffer holds no whole batch; the loss is no longer finite.
        """
        size = self.config.batch_tokens
        cursor = self.place.cursor
        order = self._order(len(parts[0])).to(parts[0].device)
        if not self._started:
            self._start_at_the_mean([part[order].to(self._device) for part in parts])
            self._started = True
        n_batches = len(order) // size
        for used in range(self.place.used, n_batches):
            if self.finished:
                return
            rows = order[used * size : (used + 1) * size]
            self.place = (
                StreamPosition(cursor, used + 1) if used + 1 < n_batches else StreamPosition(following)
            )
            self._step(torch.cat([part[rows] for part in parts], dim=-1))
            advance(size)

    def result(self) -> Trained:
        """The trained dictionary, in the units of the subject's activations."""
        trainer = self.trainer
        if isinstance(trainer.sae, TranscoderTrainingSAE):
            trainer.sae.fold()
        elif trainer.activation_scaler.scaling_factor is not None:
            trainer.sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
        trainer.set_final_sae_metadata()
        return Trained(trainer.sae, trainer.log_feature_sparsity)

    def reconstruct(self, activation: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_out"]:
        """Reconstructs activations (of a transcoder: predicts its target) with the weights so far."""
        inside = activation.to(self._device)
        if isinstance(self.trainer.sae, TranscoderTrainingSAE):
            return self.trainer.sae.predict(inside).to(activation)
        scaler = self.trainer.activation_scaler
        restored: Tensor = scaler.unscale(self.trainer.sae(scaler.scale(inside)))
        return restored.to(activation)

    def _order(self, n_tokens: int) -> Tensor:
        whole = n_tokens // self.config.batch_tokens
        if whole == 0:
            raise UserError(
                f"a buffer of {n_tokens} tokens holds no batch of {self.config.batch_tokens}",
                "sae.buffer_tokens",
                "make buffer_tokens at least a few times batch_tokens",
            )
        order: NDArray[np.int64] = np.random.default_rng((self.config.seed, self.place.cursor)).permutation(
            n_tokens
        )
        return torch.from_numpy(order[: whole * self.config.batch_tokens])

    def _start_at_the_mean(self, sample: Sequence[Float[Tensor, "token _"]]) -> None:
        """Sets the scales (mean norm sqrt(width)) and the decoder's bias (the mean) from the first buffer."""
        sae = self.trainer.sae
        if isinstance(sae, TranscoderTrainingSAE):
            sae.start_at(sample[0], sample[1])
            return
        scale = self.config.scale_input
        factor = sample[0].shape[1] ** 0.5 / float(sample[0].norm(dim=-1).mean()) if scale else 1.0
        if scale:
            self.trainer.activation_scaler.scaling_factor = factor
        with torch.no_grad():
            sae.b_dec.copy_(sample[0].mean(0) * factor)

    def _step(self, batch: Float[Tensor, "batch _"]) -> None:
        config, trainer = self.config, self.trainer
        with tensor_cores(self._device):
            output = trainer.step(batch)
        trainer.n_training_steps += 1
        done = trainer.n_training_steps
        every = config.checkpoint_every_steps
        saving = bool(every) and (self.finished or done % every == 0)
        if (self.finished or saving) and not bool(torch.isfinite(output.loss)):
            raise UserError(
                f"training diverged: the loss is {float(output.loss.detach())} at step {done}",
                "sae.learning_rate",
                f"lower it (now {config.learning_rate:g}), or check the subject's activations",
            )
        if self._log and (self.finished or done % config.log_every_steps == 0):
            self._log(_named(trainer.build_train_step_log_dict(output, done)), self.tokens_done)
        probing = config.evaluate_every_steps and done % config.evaluate_every_steps == 0
        if self._log and self._evaluate and probing:
            with torch.no_grad():
                self._log(self._evaluate(self.reconstruct), self.tokens_done)
        if self._checkpoint and saving:
            save_checkpoint(self._checkpoint, trainer, self.place, self._identity)


def _named(values: dict[str, Any]) -> dict[str, float]:
    return {
        "sae/loss": float(values["losses/overall_loss"]),
        "sae/mse": float(values["losses/mse_loss"]),
        "sae/explained_variance": float(values["metrics/explained_variance"]),
        "sae/l0": float(values["metrics/l0"]),
        "sae/dead_latents": float(values["sparsity/dead_features"]),
        "sae/learning_rate": float(values["details/current_learning_rate"]),
    }
