"""The training loop: SAELens' trainer, stepped by hand over our own stream."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from sae_lens.config import SAETrainerConfig
from sae_lens.registry import get_sae_training_class
from sae_lens.saes.sae import SAEMetadata, TrainingSAE
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from interp.errors import UserError
from interp.track.progress import Progress, silent
from saes import sparse
from saes.architecture import TopK
from saes.checkpoint import load_checkpoint, save_checkpoint
from saes.config import SaeTraining
from saes.stream import ShuffledBatches, Source

Log = Callable[[dict[str, float], int], None]
"""Takes named numbers and the count of training tokens they belong to."""

Reconstruct = Callable[[Float[Tensor, "token d_in"]], Float[Tensor, "token d_in"]]


@dataclass(frozen=True)
class Trained:
    """A trained SAE in the units of the subject's activations, and how often each latent fired.

    `sparsity` [latent] is log10 of the firing rate over the last window of training steps.
    """

    sae: TrainingSAE[Any]
    sparsity: Float[Tensor, " latent"]


def build_trainer(
    config: SaeTraining, d_in: int, device: str = "cpu", metadata: dict[str, Any] | None = None
) -> SAETrainer[Any, Any]:
    """SAELens' trainer around a seeded new SAE; the caller's random state is left as it was."""
    shape = {
        "d_in": d_in,
        "d_sae": config.n_latents,
        "dtype": config.dtype,
        "device": device,
        "normalize_activations": "expected_average_only_in" if config.scale_input else "none",
        "metadata": SAEMetadata(**(metadata or {})),
    }
    sae_config = config.architecture.config(shape)
    sae_class, _ = get_sae_training_class(sae_config.architecture())
    if isinstance(config.architecture, TopK) and sparse.available(device, config.dtype):
        sae_class = sparse.SparseTopKTrainingSAE
    with torch.random.fork_rng(devices=None if device.startswith("cuda") else []):
        torch.manual_seed(config.seed)
        sae = sae_class(sae_config)
    warm_up_steps = min(config.warm_up_steps, config.n_steps // 2)
    return SAETrainer(
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


def _start_at_the_mean(
    trainer: SAETrainer[Any, Any], sample: Float[Tensor, "token d_in"], scale: bool
) -> None:
    """Sets the input scale (mean norm sqrt(d_in)) and the decoder's bias (the mean) from the first buffer."""
    factor = sample.shape[1] ** 0.5 / float(sample.norm(dim=-1).mean()) if scale else 1.0
    if scale:
        trainer.activation_scaler.scaling_factor = factor
    with torch.no_grad():
        trainer.sae.b_dec.copy_(sample.mean(0) * factor)


def fit(
    config: SaeTraining,
    source: Source,
    *,
    device: str = "cpu",
    metadata: dict[str, Any] | None = None,
    checkpoint: Path | None = None,
    log: Log | None = None,
    evaluate: Callable[[Reconstruct], dict[str, float]] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Trains an SAE on a source of activations; continues from `checkpoint` if that file exists.

    Same settings and source give the same bits, also when training was killed and continued.

    `log` gets `sae/loss`, `sae/mse` (squared error summed over the width, in scaled units),
    `sae/explained_variance` (of the batch), `sae/l0`, `sae/dead_latents`, `sae/learning_rate`, and what
    `evaluate` returns.

    Raises:
        UserError: the checkpoint is damaged or belongs to other settings; the source has nothing to give;
            the loss is not finite any more.
    """
    identity = json.dumps({"config": config.model_dump(mode="json"), "metadata": metadata}, sort_keys=True)
    trainer = build_trainer(config, source.width, device, metadata)
    if checkpoint is not None and checkpoint.exists():
        place = load_checkpoint(checkpoint, trainer, identity)
        batches = ShuffledBatches(source, config.batch_tokens, config.seed, place)
    else:
        batches = ShuffledBatches(source, config.batch_tokens, config.seed)
        _start_at_the_mean(trainer, batches.peek().to(device), config.scale_input)

    def reconstruct(activation: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_in"]:
        scaler = trainer.activation_scaler
        restored: Tensor = scaler.unscale(trainer.sae(scaler.scale(activation.to(device))))
        return restored.to(activation)

    with (progress or silent()).task(
        "training the SAE", total=config.training_tokens, unit="tokens"
    ) as advance:
        advance(trainer.n_training_samples)
        while trainer.n_training_steps < config.n_steps:
            batch = next(batches)
            output = trainer.step(batch)
            trainer.n_training_steps += 1
            done = trainer.n_training_steps
            last = done == config.n_steps
            saving = bool(config.checkpoint_every_steps) and done % config.checkpoint_every_steps == 0
            if (last or saving) and not bool(torch.isfinite(output.loss)):
                raise UserError(
                    f"training diverged: the loss is {float(output.loss.detach())} at step {done}",
                    "sae.learning_rate",
                    f"lower it (now {config.learning_rate:g}), or check the subject's activations",
                )
            if log and (last or done % config.log_every_steps == 0):
                log(_named(trainer.build_train_step_log_dict(output, done)), trainer.n_training_samples)
            if log and evaluate and config.evaluate_every_steps and done % config.evaluate_every_steps == 0:
                with torch.no_grad():
                    log(evaluate(reconstruct), trainer.n_training_samples)
            if checkpoint and saving:
                save_checkpoint(checkpoint, trainer, batches.place, identity)
            advance(len(batch))
    if trainer.activation_scaler.scaling_factor is not None:
        trainer.sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    trainer.set_final_sae_metadata()
    return Trained(trainer.sae, trainer.log_feature_sparsity)


def _named(values: dict[str, Any]) -> dict[str, float]:
    return {
        "sae/loss": float(values["losses/overall_loss"]),
        "sae/mse": float(values["losses/mse_loss"]),
        "sae/explained_variance": float(values["metrics/explained_variance"]),
        "sae/l0": float(values["metrics/l0"]),
        "sae/dead_latents": float(values["sparsity/dead_features"]),
        "sae/learning_rate": float(values["details/current_learning_rate"]),
    }
