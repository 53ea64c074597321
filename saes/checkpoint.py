"""A training run's whole state in one safetensors file: tensors, and the rest as JSON in its header."""

import json
from pathlib import Path
from typing import Any

import torch
from sae_lens.training.sae_trainer import SAETrainer

from interp.errors import UserError
from interp.json_text import json_object
from interp.tensors import check_finite
from interp.track.files import read_safetensors, write_safetensors
from saes.stream import StreamPosition

_AGAIN = "delete it; training starts again"


def save_checkpoint(path: Path, trainer: SAETrainer[Any, Any], place: StreamPosition, identity: str) -> None:
    """Writes the trainer's state and its place in the stream, atomically; `identity` names the training."""
    optimizer = trainer.optimizer.state_dict()
    tensors = {f"sae.{name}": value for name, value in trainer.sae.state_dict().items()}
    tensors |= {
        f"adam.{index}.{name}": value
        for index, state in optimizer["state"].items()
        for name, value in state.items()
    }
    tensors["act_freq_scores"] = trainer.act_freq_scores
    tensors["passes_since_fired"] = trainer.n_forward_passes_since_fired
    state = {
        "identity": identity,
        "cursor": place.cursor,
        "used": place.used,
        "n_training_steps": trainer.n_training_steps,
        "n_training_samples": trainer.n_training_samples,
        "n_frac_active_samples": trainer.n_frac_active_samples,
        "scaling_factor": trainer.activation_scaler.scaling_factor,
        "param_groups": optimizer["param_groups"],
        "lr_scheduler": _plain(trainer.lr_scheduler.state_dict()),
        "coefficients": {name: s.state_dict() for name, s in trainer.coefficient_schedulers.items()},
    }
    contiguous = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    write_safetensors(path, contiguous, {"state": json.dumps(state)})


def load_checkpoint(path: Path, trainer: SAETrainer[Any, Any], identity: str) -> StreamPosition:
    """Puts a freshly built trainer into the saved state and returns the stream's place.

    Raises:
        UserError: the file is damaged, or belongs to another configuration, subject, site or corpus.
    """
    tensors, metadata = read_safetensors(path, str(trainer.cfg.device))
    state = json_object(metadata.get("state", ""), str(path), _AGAIN)
    if state.get("identity") != identity:
        raise UserError(
            "the SAE checkpoint was made with other settings, or on another subject, site or corpus",
            str(path),
            "restore the settings to continue it, or delete it to start again",
        )
    check_finite(tensors, str(path), _AGAIN)
    try:
        return _restored(trainer, tensors, state)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"the SAE checkpoint cannot be read ({error})", str(path), _AGAIN) from error


def _restored(
    trainer: SAETrainer[Any, Any], tensors: dict[str, torch.Tensor], state: dict[str, Any]
) -> StreamPosition:
    trainer.sae.load_state_dict(_under("sae.", tensors))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _under("adam.", tensors).items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = value
    trainer.optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
    trainer.lr_scheduler.load_state_dict(state["lr_scheduler"])
    for name, scheduler in trainer.coefficient_schedulers.items():
        scheduler.load_state_dict(state["coefficients"][name])
    trainer.act_freq_scores = tensors["act_freq_scores"]
    trainer.n_forward_passes_since_fired = tensors["passes_since_fired"]
    trainer.n_training_steps = state["n_training_steps"]
    trainer.n_training_samples = state["n_training_samples"]
    trainer.n_frac_active_samples = state["n_frac_active_samples"]
    trainer.activation_scaler.scaling_factor = state["scaling_factor"]
    return StreamPosition(int(state["cursor"]), int(state["used"]))


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _plain(content: Any) -> Any:
    """Drops from the scheduler's state what JSON cannot hold; a fresh scheduler has it already."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return content
