"""The training loop: seeded, with a learning rate by step, and resumable with the same bits."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from interp.bundled.llama.model import Llama
from interp.bundled.llama.recipe import Recipe
from interp.device import usable_device
from interp.errors import UserError
from interp.track.files import read_safetensors, write_safetensors
from interp.track.progress import Progress, silent

Log = Callable[[dict[str, float], int], None]


class Trainer(ABC):
    """A model, its two optimisers and their current step; a subclass gives the data and the loss.

    `recipe`, `seed` and the text decide the weights; a checkpoint with another of these is refused.

    Raises:
        UserError: the recipe's device is not usable here.
    """

    def __init__(self, recipe: Recipe, seed: int, model: Llama, muon: torch.optim.Optimizer) -> None:
        self.recipe = recipe
        self.seed = seed
        self.step = 0
        self.device = usable_device(recipe.device)
        self.model = model.to(self.device)
        adam = torch.optim.AdamW(
            model.other_parameters(), lr=recipe.adam_rate, betas=(0.9, 0.98), weight_decay=recipe.adam_decay
        )
        self.optimizers: tuple[tuple[torch.optim.Optimizer, float], ...] = (
            (muon, recipe.muon_rate),
            (adam, recipe.adam_rate),
        )

    @abstractmethod
    def measure(self) -> dict[str, Tensor]:
        """The `loss` of this step's batch, with its graph, and the tensors that `metrics` needs."""

    @abstractmethod
    def metrics(self, measured: dict[str, Tensor]) -> dict[str, float]:
        """The numbers that are logged of a step, from what `measure` gave."""

    def identity(self) -> dict[str, str]:
        """Everything that decides the weights, as text; a checkpoint must have the same."""
        return {"seed": str(self.seed), "recipe": self.recipe.model_dump_json()}

    def advance(self) -> dict[str, Tensor]:
        """Take one step and return what was measured on its batch before the update."""
        factor = self.recipe.rate_at(self.step)
        for optimizer, rate in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        measured = self.measure()
        torch.autograd.backward(measured["loss"])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, _ in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {name: value.detach() for name, value in measured.items()}

    def save(self, path: Path) -> None:
        """Write weights, optimiser state and step to `path`, atomically."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for number, (optimizer, _) in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{number}.{index}.{key}": value for key, value in state.items()}
        write_safetensors(path, tensors, {"step": str(self.step), **self.identity()})

    def restore(self, path: Path) -> None:
        """Continue from `path`.

        Raises:
            UserError: the checkpoint is damaged, or of another recipe, seed or text.
        """
        tensors, metadata = read_safetensors(path)
        differing = [key for key, value in self.identity().items() if metadata.get(key) != value]
        if differing:
            raise UserError(
                f"the checkpoint belongs to another recipe or seed ({', '.join(differing)})",
                str(path),
                "delete it or restore the recipe",
            )
        self.step = int(metadata["step"])
        self.model.load_state_dict(
            {
                name.removeprefix("model."): value
                for name, value in tensors.items()
                if name.startswith("model.")
            }
        )
        for number, (optimizer, _) in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                kind, _, rest = name.partition(".")
                if kind == "optimizer" and rest.startswith(f"{number}."):
                    _, index, key = rest.split(".")
                    state.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict(
                {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
            )


def train_to_the_end(
    trainer: Trainer, name: str, scratch: Path, log: Log, progress: Progress | None = None
) -> Llama:
    """Train to the end of the recipe, from the checkpoint in `scratch` if there is one.

    A run that is killed and started again ends with the same weights, bit for bit, on the same machine.
    """
    checkpoint, recipe = scratch / "checkpoint.safetensors", trainer.recipe
    if checkpoint.exists():
        trainer.restore(checkpoint)
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        what = f"training the {name} model" + (f" from step {trainer.step}" if trainer.step else "")
        with (progress or silent()).task(what, recipe.steps - trainer.step, "steps") as advance:
            while trainer.step < recipe.steps:
                measured = trainer.advance()
                advance(1, note=f"loss {measured['loss']:.2f}")
                last = trainer.step == recipe.steps
                if last or trainer.step % recipe.log_every == 0:
                    log(trainer.metrics(measured), trainer.step * recipe.rows * recipe.row_length)
                if last or trainer.step % recipe.checkpoint_every == 0:
                    trainer.save(checkpoint)
    finally:
        torch.set_num_threads(threads)
    return trainer.model.cpu().eval()
